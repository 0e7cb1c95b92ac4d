// JavaScript. npm install jose. NODE_EXTRA_CA_CERTS names the issuer's CA; the token comes on stdin.
import { readFileSync } from "node:fs";
import { createRemoteJWKSet, jwtVerify } from "jose";

const { VIRTID_ISSUER: issuer, VIRTID_AUDIENCE: audience } = process.env;
const keys = createRemoteJWKSet(new URL(issuer + "/.well-known/jwks.json"), { cacheMaxAge: 300_000 }); // make one and keep it
const { payload } = await jwtVerify(readFileSync(0, "utf8").trim(), keys, {
    issuer, audience, algorithms: ["ES256"], typ: "JWT", clockTolerance: 60, requiredClaims: ["exp", "iat", "nbf", "sub"] });
console.log(payload.sub);
