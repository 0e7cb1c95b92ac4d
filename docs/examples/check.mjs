// node check.mjs ISSUER AUDIENCE CA|JWKS TOKEN - prints who the token's VM is, or fails.
// CA: a PEM file, which must also be in NODE_EXTRA_CA_CERTS, keys are fetched; JWKS: a file that ends in .json.
// npm install jose
import { readFileSync } from "node:fs";
import { createLocalJWKSet, createRemoteJWKSet, jwtVerify } from "jose";

const [issuer, audience, trust, token] = process.argv.slice(2);
const keys = trust.endsWith(".json")
    ? createLocalJWKSet(JSON.parse(readFileSync(trust, "utf8")))
    : createRemoteJWKSet(new URL(issuer + "/.well-known/jwks.json"));
const { payload } = await jwtVerify(token, keys, { issuer, audience, algorithms: ["ES256"] });
console.log(payload.sub);
