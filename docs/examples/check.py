# Python. Debian: python3-jwt, python3-cryptography. SSL_CERT_FILE names the issuer's CA; the token comes on stdin.
import os, sys
import jwt

issuer, audience = os.environ["VIRTID_ISSUER"], os.environ["VIRTID_AUDIENCE"]
keys = jwt.PyJWKClient(issuer + "/.well-known/jwks.json")  # make one and keep it: it keeps the key set for 300 s
token = sys.stdin.read().strip()
key = keys.get_signing_key_from_jwt(token)
claims = jwt.decode(token, key.key, algorithms=["ES256"], audience=audience, issuer=issuer, leeway=60,
                    options={"require": ["exp", "iat", "nbf", "iss", "aud", "sub"]})
print(claims["sub"])
