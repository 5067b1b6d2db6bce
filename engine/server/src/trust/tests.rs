//! Against a real server over TLS whose authority these tests made.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::{env, fs, thread};

use http::{HeaderMap, Method};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use url::Url;

use super::*;
use crate::serverless::client::{Call, Client};
use crate::serverless::policy::Policy;

const URL: &str = "RIVET_TEST_TRUST_URL";

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("it signs itself").pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

/// Says hi over TLS, as who the authority says it is.
fn server(authority: &Authority, name: &str, is_expired: bool) -> SocketAddr {
    let mut params = CertificateParams::new(vec![name.to_string()]).expect("a name");
    if is_expired {
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &authority.issuer).expect("it is signed");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).expect("they belong together"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut tls = rustls::ServerConnection::new(config.clone()).expect("a session");
            let mut tls = rustls::Stream::new(&mut tls, &mut stream);
            // A client that does not believe it leaves.
            let _ = tls.read(&mut [0; 1024]).and_then(|_| tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"));
        }
    });
    address
}

fn call(config: Arc<ClientConfig>, url: &str) -> Result<u16, String> {
    let client = Client::new(Policy::default(), config);
    let url = Url::parse(url).expect("a URL");
    let call = Call { method: Method::GET, url, headers: HeaderMap::new(), body: bytes::Bytes::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer = runtime.block_on(client.send(call));
    answer.map(|response| response.status().as_u16()).map_err(|error| error.to_string())
}

#[test]
fn who_is_believed_and_who_is_not() {
    let (ours, other) = (authority("ours"), authority("other"));
    let folder = tempfile::tempdir().expect("the temporary directory can be written");
    let file = folder.path().join("ca.pem");
    fs::write(&file, format!("# both\n{}{}", other.pem, ours.pem)).expect("it can be written");
    let unknown = authority("unknown");
    let check = |signed_by: &Authority, name: &str, is_expired: bool, with_file: bool, expected: Result<u16, &str>| {
        let config = client_config(with_file.then_some(&file)).expect("it can be set up");
        let address = server(signed_by, name, is_expired);
        let answer = call(config, &format!("https://localhost:{}/", address.port()));
        match (&answer, expected) {
            (Ok(status), Ok(expected)) => assert_eq!(*status, expected),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{expected:?} expected, seen {error:?}"),
            _ => panic!("{expected:?} expected, seen {answer:?}"),
        }
    };
    check(&ours, "localhost", false, true, Ok(200));
    check(&other, "localhost", false, true, Ok(200));
    check(&ours, "localhost", false, false, Err("UnknownIssuer"));
    check(&unknown, "localhost", false, true, Err("UnknownIssuer"));
    check(&ours, "elsewhere.example", false, true, Err("not valid for name"));
    check(&ours, "localhost", true, true, Err("expired"));
}

#[test]
fn a_file_that_cannot_be_used_is_refused() {
    let folder = tempfile::tempdir().expect("the temporary directory can be written");
    let file = folder.path().join("ca.pem");
    let check = |contents: &[u8], expected: &str| {
        fs::write(&file, contents).expect("it can be written");
        let error = client_config(Some(&file)).expect_err("nothing to trust").to_string();
        assert!(
            error.contains(expected) && error.contains("the certificate authorities in"),
            "{expected:?} expected, seen {error:?}"
        );
    };
    check(b"", "no certificate");
    check(b"hello", "no certificate");
    check(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "certificate 1 cannot be read");
    check(b"-----BEGIN CERTIFICATE-----\naGk=\n-----END CERTIFICATE-----\n", "certificate 1 cannot be used");
    check(
        format!("{}-----BEGIN CERTIFICATE-----\naGk=\n-----END CERTIFICATE-----\n", authority("ours").pem).as_bytes(),
        "certificate 2",
    );
    check(&vec![b' '; FILE_BYTES_MAX as usize + 1], "more than");
    let absent = client_config(Some(&folder.path().join("absent"))).expect_err("nothing to trust").to_string();
    assert!(absent.contains("No such file"), "{absent}");
}

/// Does nothing, unless the next test started it: who is believed depends on the variables of the process.
#[test]
fn child_process() {
    let Ok(url) = env::var(URL) else { return };
    let answer = call(client_config(None).expect("it can be set up"), &url);
    writeln!(std::io::stdout(), "\nanswer {answer:?}").expect("somebody reads");
}

#[test]
fn the_systems_certificates_may_lie_elsewhere() {
    let ours = authority("ours");
    let folder = tempfile::tempdir().expect("the temporary directory can be written");
    let file = folder.path().join("ca.pem");
    fs::write(&file, &ours.pem).expect("it can be written");
    let url = format!("https://localhost:{}/", server(&ours, "localhost", false).port());
    let mut child = Command::new(env::current_exe().expect("a test knows its own path"));
    child.args(["--exact", "trust::tests::child_process", "--nocapture"]).env(URL, url).env("SSL_CERT_FILE", &file);
    let out = child.stdin(Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("answer Ok(200)"), "{said}");
}
