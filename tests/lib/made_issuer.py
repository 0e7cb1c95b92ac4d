"""An issuer of a test's own: the server, and what is right in a token of a VM."""
import http.server, ssl, time

SUBJECT = "spiffe://example.test/vm/6f1b0a3e-58c1-4a0e-9d4e-0a1b2c3d4e5f"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass


def listen(folder, handler, kind=http.server.ThreadingHTTPServer):
    """The server, which does not serve yet, and its URL; folder/tls.pem and tls.key are its certificate's."""
    server = kind(("127.0.0.1", 0), handler)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.load_cert_chain(folder + "/tls.pem", folder + "/tls.key")
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server, "https://127.0.0.1:%d" % server.server_port


def claims(issuer):
    now = int(time.time())
    return {"iss": issuer, "sub": SUBJECT, "aud": "shop", "iat": now, "nbf": now, "exp": now + 300, "jti": "j",
            "virtid": {"factors": ["host"], "gen": 0, "epoch": 1}}
