# shellcheck shell=bash
# made_issuer.sh - what an issuer of a test's own serves by TLS; its Python half is made_issuer.py

# made_issuer_tls DIR CA...: keys and certificates of these CAs (DIR/CA.key, .pem), and of the first one a server's
# at 127.0.0.1 (DIR/tls.key, .pem).
made_issuer_tls() {
    local dir=$1 ca

    for ca in "${@:2}"; do
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$ca" \
            -keyout "$dir/$ca.key" -out "$dir/$ca.pem" 2>/dev/null
    done
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
        -keyout "$dir/tls.key" -out "$dir/tls.csr" 2>/dev/null
    openssl x509 -req -in "$dir/tls.csr" -CA "$dir/$2.pem" -CAkey "$dir/$2.key" -days 2 -out "$dir/tls.pem" \
        -extfile <(printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth') 2>/dev/null
}
