//! TLS, as files of certificates and keys say, where the feature `tls` is on.

#[cfg(feature = "tls")]
pub(crate) use on::{Tls, acceptor};

/// There is none.
#[cfg(not(feature = "tls"))]
pub(crate) type Tls = std::convert::Infallible;

#[cfg(feature = "tls")]
mod on {
    use anyhow::{Context, Result};
    use rustls::ServerConfig;
    use rustls::pki_types::pem::{Error, PemObject};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use std::path::Path;
    use std::sync::Arc;

    pub(crate) type Tls = tokio_rustls::TlsAcceptor;

    /// Accepts those who speak TLS 1.2 or 1.3, and HTTP/2 or HTTP/1.1 within.
    ///
    /// # Errors
    /// If a file cannot be read, or they do not belong together.
    pub(crate) fn acceptor(cert: &Path, key: &Path) -> Result<Tls> {
        let all = || -> Result<Vec<CertificateDer<'static>>, Error> { CertificateDer::pem_file_iter(cert)?.collect() };
        let certificates = all().with_context(|| format!("cannot read certificates from {}", cert.display()))?;
        let secret = PrivateKeyDer::from_pem_file(key).with_context(|| format!("cannot read a key from {}", key.display()))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()));
        let builder =
            builder.with_safe_default_protocol_versions().context("the provider of cryptography lacks TLS 1.2 or 1.3")?;
        let config = builder.with_no_client_auth().with_single_cert(certificates, secret);
        let mut config = config.with_context(|| format!("{} and {} do not fit", cert.display(), key.display()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config).into())
    }
}
