"""Whether the certificate of the public port can be used, and for how long."""

import datetime
from pathlib import Path

from cryptography import x509

from chatd.config import Config, ConfigError
from chatd.doctor import Finding, failure, ok, warning
from chatd.tls import server_context

SOON = datetime.timedelta(days=14)  # renewing tools do so 30 days before the end: this late, they failed

_SUBJECT = "certificate"


def check_certificate(config: Config) -> list[Finding]:
    """Load the certificate and its key as the port does, and look when it ends."""
    tls = config.server.tls
    if not tls.certificate:
        return []
    try:
        server_context(tls)
    except ConfigError as error:
        return [failure(_SUBJECT, str(error), "name the PEM files of the certificate's chain and of its key")]
    certificate = x509.load_pem_x509_certificate(Path(tls.certificate).read_bytes())
    names = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return [judge_times(*names, datetime.datetime.now(datetime.UTC))]


def judge_times(begin: datetime.datetime, end: datetime.datetime, now: datetime.datetime) -> Finding:
    """Say whether a certificate that is good between two moments is good now, and will be."""
    until = f"{end:%Y-%m-%d %H:%M} UTC"
    renew = "renew it, and restart chatd"
    if now < begin:
        return failure(_SUBJECT, f"is not good before {begin:%Y-%m-%d %H:%M} UTC", "look at this machine's clock")
    if now > end:
        return failure(_SUBJECT, f"ended at {until}", renew)
    if end - now < SOON:
        return warning(_SUBJECT, f"ends at {until}", renew)
    return ok(_SUBJECT, f"is good until {until}")
