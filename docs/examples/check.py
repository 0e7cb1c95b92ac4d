#!/usr/bin/python3
# check.py ISSUER AUDIENCE CA|JWKS TOKEN - prints who the token's VM is, or fails.
# CA: a PEM file, keys are fetched; JWKS: a file that ends in .json.  Debian: python3-jwt, python3-cryptography.
import ssl, sys, urllib.request
import jwt

issuer, audience, trust, token = sys.argv[1:5]
if trust.endswith(".json"):
    answer = open(trust, "rb")
else:
    tls = ssl.create_default_context(cafile=trust)
    answer = urllib.request.urlopen(issuer + "/.well-known/jwks.json", context=tls)
keys = jwt.PyJWKSet.from_json(answer.read().decode()).keys
key = next(k for k in keys if k.key_id == jwt.get_unverified_header(token)["kid"])
claims = jwt.decode(token, key.key, algorithms=["ES256"], audience=audience, issuer=issuer,
                    options={"require": ["exp", "iat", "nbf", "iss", "aud", "sub"]})
print(claims["sub"])
