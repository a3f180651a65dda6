//! A certificate authority for one test, and the certificates that it has signed: the server's for
//! loopback, and a client's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::Outcome;

/// Files with certificates and keys, removed when this is dropped.
#[derive(Debug)]
pub struct Certificates(TempDir);

impl Certificates {
    /// Makes a fresh authority, which nobody else trusts.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn new() -> Outcome<Self> {
        let made = Self(tempfile::Builder::new().prefix("lockbydir-etcd-ca-").tempdir()?);
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "a test's own authority");
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        fs::write(made.authority(), authority.self_signed(&key)?.pem())?;
        let issuer = Issuer::new(authority, key);
        // The server's gateway is a client of the server, with the same certificate.
        let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        made.sign("server", names, both, &issuer)?;
        made.sign("client", Vec::new(), vec![ExtendedKeyUsagePurpose::ClientAuth], &issuer)?;
        Ok(made)
    }

    fn sign(
        &self,
        who: &str,
        names: Vec<String>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        issuer: &Issuer<'_, KeyPair>,
    ) -> Outcome<()> {
        let mut certificate = CertificateParams::new(names)?;
        certificate.distinguished_name.push(DnType::CommonName, who);
        certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        certificate.extended_key_usages = usages;
        let key = KeyPair::generate()?;
        fs::write(self.file(who, "pem"), certificate.signed_by(&key, issuer)?.pem())?;
        fs::write(self.file(who, "key"), key.serialize_pem())?;
        Ok(())
    }

    fn file(&self, who: &str, extension: &str) -> PathBuf {
        self.folder().join(format!("{who}.{extension}"))
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Returns the authority's own certificate, as PEM: a program that trusts it trusts the server.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("authority", "pem")
    }

    /// Returns the server's certificate and key.
    #[must_use]
    pub fn server(&self) -> (PathBuf, PathBuf) {
        (self.file("server", "pem"), self.file("server", "key"))
    }

    /// Returns the client's certificate and key.
    #[must_use]
    pub fn client(&self) -> (PathBuf, PathBuf) {
        (self.file("client", "pem"), self.file("client", "key"))
    }
}
