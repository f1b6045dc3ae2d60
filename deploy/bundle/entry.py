"""What the single-file program runs: the command it is called by."""

import os
import ssl
import sys

from cachewarmer.cli.main import multicall

AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat and its kin
    "/etc/ssl/ca-bundle.pem",  # SUSE
)
"""Where systems keep the authorities that they trust: the program brings its own OpenSSL, which knows one place only."""


def trust_the_systems_authorities() -> None:
    """Unless the environment names others."""
    places = ssl.get_default_verify_paths()
    if os.environ.get(places.openssl_cafile_env) or os.environ.get(places.openssl_capath_env):
        return
    found = next((one for one in AUTHORITIES if os.path.exists(one)), None)
    if found and not places.cafile:
        os.environ[places.openssl_cafile_env] = found


if __name__ == "__main__":
    trust_the_systems_authorities()
    sys.exit(multicall())
