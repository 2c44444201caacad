//! `ssl-serve`, as its clients see it: every path of the protocol with the answer that it has, the same bits as the library yields, and what
//! becomes of clients that are many, slow, wrong, or gone. What clients of other makers see of it is in `scripts/serve_clients.py`.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use sslm::{Model, Options, TensorView, Threads};
use sslm_tests::compare::convert;
use sslm_tests::onnx::{Net, value_info};
use sslm_tests::tools::{command, lenet, root};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// A server that ends with the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one on a port that is free.
    fn start(arguments: &[&str]) -> Self {
        let mut command = command("ssl-serve");
        let command = command.args(["--listen", "127.0.0.1:0", "--log", "errors"]).args(arguments);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the server starts");
        let mut log = BufReader::new(child.stderr.take().expect("it is a pipe"));
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).expect("it is text") > 0, "the server ended: {said}");
            if let Some((_, address)) = line.trim().split_once("://") {
                break address.parse().expect("an address");
            }
            said += &line;
        };
        // What it says later nobody reads.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Server { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("it is a time");
        stream
    }

    /// A connection with a request on its way.
    fn send(&self, request: &[u8]) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(request).expect("it is taken");
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        // It may have refused before it read all of it.
        let _ = stream.write_all(&request(method, path, headers, body));
        Answer::read(stream)
    }

    fn infer(&self, model: &str, body: &Value) -> Answer {
        self.ask("POST", &format!("/v2/models/{model}/infer"), &[], body.to_string().as_bytes())
    }

    /// A figure of `/metrics`, summed over all labels that have this text.
    fn metric(&self, name: &str, labels: &str) -> f64 {
        let text = self.ask("GET", "/metrics", &[], b"").text();
        let own = |line: &&str| line.split(['{', ' ']).next() == Some(name) && line.contains(labels);
        text.lines().filter(own).map(|line| line.rsplit(' ').next().expect("a figure").parse::<f64>().expect("a number")).sum()
    }

    fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < Duration::from_secs(60), "within a minute: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }

    fn ended(&mut self) -> i32 {
        self.child.wait().expect("it ends").code().expect("by itself")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        head += "host: localhost\r\n";
    }
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    [head.as_bytes(), b"\r\n", body].concat()
}

#[derive(Debug)]
struct Answer {
    code: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(mut from: impl Read) -> Self {
        let mut bytes = Vec::new();
        let result = from.read_to_end(&mut bytes);
        let split = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("no answer: {result:?}"));
        let head = String::from_utf8(bytes[..split].to_vec()).expect("heads are text").to_lowercase();
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let mut body = bytes[split + 4..].to_vec();
        if head.contains("transfer-encoding: chunked") {
            body = of_chunks(&body).unwrap_or_else(|| panic!("expected whole chunks: {head}"));
        }
        let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        assert!(len.is_none_or(|len| len == body.len()), "{len:?} bytes were promised, {} came", body.len());
        Answer { code, head, body }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// A body that comes in chunks, each behind its length.
fn of_chunks(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = chunks.windows(2).position(|two| two == b"\r\n")?;
        let len = usize::from_str_radix(std::str::from_utf8(&chunks[..line]).ok()?, 16).ok()?;
        let rest = &chunks[line + 2..];
        if len == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..len)?);
        chunks = rest.get(len + 2..)?;
    }
}

/// The sum and the product of two inputs `[N, 2]`.
fn sum() -> Vec<u8> {
    let mut net = Net::new(&["N", "2"]);
    net.graph().input[0].name = "a".to_owned();
    net.graph().input.push(value_info("b", &["N", "2"]));
    for (op, name) in [("Add", "sum"), ("Mul", "product")] {
        net.node(op, &["a", "b"], &[]);
        net.last_node().output[0] = name.to_owned();
    }
    convert(&net.finish(&["sum", "product"]), false)
}

/// A folder of models: LeNet, one of two inputs, and one that is none.
fn models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(lenet().join("lenet.sslm"), folder.path().join("lenet.sslm")).expect("it is there");
    std::fs::write(folder.path().join("sum.sslm"), sum()).expect("there is room");
    std::fs::write(folder.path().join("broken.sslm"), b"not a model").expect("there is room");
    folder
}

fn resnet() -> String {
    root().join("tools/models/resnet20/resnet20.sslm").to_str().expect("its path is text").to_owned()
}

/// A request that takes some tenths of a second and more.
fn long(images: usize) -> Vec<u8> {
    let head = json!({ "inputs": [{
        "name": "image", "shape": [images, 3, 32, 32], "datatype": "FP32",
        "parameters": { "binary_data_size": images * 3 * 32 * 32 * 4 },
    }], "parameters": { "binary_data_output": true } });
    let head = head.to_string();
    let body = [head.as_bytes(), &vec![0; images * 3 * 32 * 32 * 4]].concat();
    request("POST", "/v2/models/resnet20/infer", &[("inference-header-content-length", &head.len().to_string())], &body)
}

#[test]
fn every_path_has_its_answer() {
    let folder = models();
    let server = Server::start(&[folder.path().to_str().expect("its path is text"), "--allow-control"]);
    let mut rows = csv::Reader::from_path(root().join("tests/serve/protocol.csv")).expect("the table is there");
    let mut count = 0;
    for row in rows.records().map(|row| row.expect("a row")) {
        let [_, method, path, body, code, text] = [0, 1, 2, 3, 4, 5].map(|column| row.get(column).expect("six columns"));
        let answer = server.ask(method, path, &[], body.as_bytes());
        let found = (answer.code, answer.text());
        assert_eq!(found.0.to_string(), code, "{method} {path} {body}: {}", found.1);
        assert!(found.1.contains(text), "{method} {path} {body}: expected '{text}', found '{}'", found.1);
        if found.0 >= 400 && !matches!(method, "HEAD") && !path.ends_with("/ready") {
            assert!(answer.json()["error"].is_string(), "{method} {path}: {}", found.1);
        }
        count += 1;
    }
    assert!(count > 50, "the table has {count} rows");
}

/// Over gRPC, what clients do wrong is called so, and no defect of the server. Errors stand in the head, which HTTP/1.1 has, too.
#[test]
fn faults_of_clients_are_called_so_over_grpc() {
    let folder = models();
    let server = Server::start(&[folder.path().to_str().expect("its path is text")]);
    let message = |flag: u8, bytes: &[u8]| [&[flag], &(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    for (method, body, code, expected) in [
        ("ModelInfer", message(0, b"\xff\xff\xff"), 3, "message: failed to decode"),
        ("ModelInfer", message(0, b"\x2a\xff"), 3, "message: failed to decode"),
        ("ModelReady", message(0, b"\x0a\x02\xff\xfe"), 3, "not utf-8"),
        ("ModelReady", message(0, b"\x0a\x06nobody"), 5, "there is no model 'nobody'"),
        ("ServerLive", Vec::new(), 3, "message: expected one, found none"),
        ("ModelReady", message(0, b"\x0a\x05lenet")[..8].to_vec(), 3, "message: expected a whole one"),
        ("ModelReady", message(7, b""), 3, "message: expected 0 or 1 as its first byte"),
        // As gRPC has it.
        ("ModelReady", message(1, b""), 13, "no grpc-encoding"),
        ("ModelSing", message(0, b""), 12, ""),
    ] {
        let path = format!("/inference.GRPCInferenceService/{method}");
        let answer = server.ask("POST", &path, &[("content-type", "application/grpc"), ("te", "trailers")], &body);
        let of_head = |name: &str| answer.head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        assert_eq!(of_head("grpc-status: "), code.to_string(), "{method} {body:?}: {}", answer.head);
        let said = of_head("grpc-message: ").replace("%20", " ").replace("%27", "'");
        assert!(said.contains(expected), "{method} {body:?}: {said}");
    }
}

#[test]
fn answers_are_the_librarys_to_the_last_bit() {
    let server = Server::start(&[&resnet()]);
    let model = Model::read(resnet()).expect("it is valid");
    let mut random = fastrand::Rng::with_seed(23);
    for batch in [1, 3, 8] {
        let shape = [batch, 3, 32, 32];
        let images: Vec<f32> = (0..shape.iter().product()).map(|_| random.f32()).collect();
        let plan = model.prepare(&Options::new().batch(batch).threads(Threads::Single)).expect("it is prepared");
        let mut session = plan.session();
        let expected = session.run(TensorView::new(&shape, &images).expect("as many")).expect("it runs").data().to_vec();
        let answer = server.infer(
            "resnet20",
            &json!({ "inputs": [{ "name": "image", "shape": shape, "datatype": "FP32", "data": images }],
                     "parameters": { "binary_data_output": true } }),
        );
        assert_eq!(answer.code, 200, "{}", answer.text());
        let json_len = answer.head.lines().find_map(|line| line.strip_prefix("inference-header-content-length: "));
        let binary = &answer.body[json_len.and_then(|len| len.parse().ok()).expect("where bytes begin")..];
        let found: Vec<f32> = binary.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four"))).collect();
        assert!(expected.iter().map(|x| x.to_bits()).eq(found.iter().map(|x| x.to_bits())), "batch {batch}");
        // JSON has as many digits as tell every number from its neighbours.
        let answer = server
            .infer("resnet20", &json!({ "inputs": [{ "name": "image", "shape": shape, "datatype": "FP32", "data": images }] }));
        let data = answer.json()["outputs"][0]["data"].as_array().expect("numbers").clone();
        let found: Vec<f32> = data.iter().map(|x| x.as_f64().expect("a number") as f32).collect();
        assert_eq!(found, expected, "batch {batch}");
    }
}

#[test]
fn joined_requests_are_answered_as_if_they_were_alone() {
    let server = Server::start(&[&resnet(), "--workers", "1", "--max-batch", "8", "--max-delay", "50", "--reproducible"]);
    let model = Model::read(resnet()).expect("it is valid");
    let ask = |seed: u64, batch: usize| {
        let shape = [batch, 3, 32, 32];
        let mut random = fastrand::Rng::with_seed(seed);
        let images: Vec<f32> = (0..shape.iter().product()).map(|_| random.f32()).collect();
        let plan = model.prepare(&Options::new().batch(batch).reproducible()).expect("it is prepared");
        let mut session = plan.session();
        let expected = session.run(TensorView::new(&shape, &images).expect("as many")).expect("it runs").data().to_vec();
        let answer = server
            .infer("resnet20", &json!({ "inputs": [{ "name": "image", "shape": shape, "datatype": "FP32", "data": images }] }));
        let output = answer.json()["outputs"][0].clone();
        assert_eq!(output["shape"], json!([batch, 10]), "{}", answer.text());
        let found: Vec<f32> =
            output["data"].as_array().expect("numbers").iter().map(|x| x.as_f64().expect("a number") as f32).collect();
        assert_eq!(found, expected, "request {seed} of {batch} images");
    };
    // A request of nine images is larger than a joined run may be, and runs alone.
    let batches = [1, 2, 1, 3, 1, 1, 5, 9, 4, 1, 1, 2];
    thread::scope(|scope| {
        for (seed, batch) in batches.into_iter().enumerate() {
            scope.spawn(move || ask(seed as u64, batch));
        }
    });
    let (runs, images) = (server.metric("sslm_batch_images_count", "resnet20"), server.metric("sslm_images_total", "resnet20"));
    assert_eq!(images, batches.iter().sum::<usize>() as f64);
    assert!(runs < batches.len() as f64, "{runs} runs for {} requests: some were joined", batches.len());
}

#[test]
fn who_leaves_or_is_late_costs_no_further_steps() {
    let server = Server::start(&[&resnet(), "--workers", "1"]);
    // One runs, one waits; both clients leave.
    let clients = [0, 1].map(|_| server.send(&long(2048)));
    server.wait_until("one request waits", |server| server.metric("sslm_queue_requests", "") == 1.0);
    let begun = Instant::now();
    drop(clients);
    server.wait_until("both were given up", |server| server.metric("sslm_abandoned_total", "resnet20") == 2.0);
    eprintln!("both were given up after {:?}", begun.elapsed());
    // A deadline ends a run, too, and the answer says so at once.
    let answer = server.infer(
        "resnet20",
        &json!({ "parameters": { "timeout": 1000 },
                 "inputs": [{ "name": "image", "shape": [64, 3, 32, 32], "datatype": "FP32", "data": vec![0; 64 * 3 * 32 * 32] }] }),
    );
    assert_eq!((answer.code, &*answer.json()["error"].to_string()), (504, "\"not done within 1.00 ms\""));
    server.wait_until("the late one was given up", |server| server.metric("sslm_late_total", "resnet20") == 1.0);
    assert_eq!(server.metric("sslm_abandoned_total", "resnet20"), 2.0, "its client did not leave");
    assert_eq!(server.metric("sslm_requests_total", "code=\"200\""), 0.0);
}

#[test]
fn more_than_fits_is_refused_at_once() {
    let server = Server::start(&[&resnet(), "--workers", "1", "--queue", "2", "--max-requests", "70"]);
    let ask = |images: usize| server.send(&long(images));
    let mut clients = vec![ask(1024)];
    server.wait_until("the first runs", |server| server.metric("sslm_queue_seconds_count", "") == 1.0);
    clients.push(ask(64));
    clients.push(ask(64));
    server.wait_until("two wait", |server| server.metric("sslm_queue_requests", "") == 2.0);
    let begun = Instant::now();
    let answer = Answer::read(ask(64));
    assert_eq!(answer.code, 503, "{}", answer.text());
    assert!(answer.text().contains("2 requests are waiting already") && answer.head.contains("retry-after: 1"), "{answer:?}");
    // Fourteen MiB are there, of 70: as much as a request may have is too much, whoever sends it.
    let answer = Answer::read(ask(5000));
    assert_eq!(answer.code, 503, "{}", answer.text());
    assert!(answer.text().contains("other requests take all memory"), "{}", answer.text());
    eprintln!("both were refused after {:?}", begun.elapsed());
    for client in clients {
        assert_eq!(Answer::read(client).code, 200, "those that were accepted are answered");
    }
    let refused = server.ask("POST", "/v2/models/resnet20/infer", &[], &vec![b' '; (64 << 20) + 1]);
    assert_eq!(refused.code, 413, "{}", refused.text());
    // The same, by chunks, which do not say how many there will be.
    let mut stream = server.connect();
    let head =
        "POST /v2/models/resnet20/infer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("it is taken");
    let chunk = [&b"100000\r\n"[..], &vec![b' '; 1 << 20], b"\r\n"].concat();
    (0..65).take_while(|_| stream.write_all(&chunk).is_ok()).for_each(drop);
    let _ = stream.write_all(b"0\r\n\r\n");
    let refused = Answer::read(stream);
    assert_eq!(refused.code, 413, "{}", refused.text());
}

/// While requests wait, what reads others does not interrupt runs; where none does, it may.
#[cfg(target_os = "linux")]
#[test]
fn runs_are_not_interrupted_while_requests_wait() {
    let server = Server::start(&[&resnet(), "--workers", "1"]);
    // What threads of a name are scheduled by.
    let policies = |server: &Server, name: &str| -> Vec<String> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).expect("the server runs");
        let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        let policy = |stat: String| {
            let (own, fields) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")).expect("a name in brackets");
            // The field of index 40, of which two stand before the others.
            (own == name).then(|| fields.split(' ').nth(38).expect("a policy").to_owned())
        };
        stats.filter_map(policy).collect()
    };
    let [other, batch] = ["0", "3"];
    let reading = policies(&server, "tokio-rt-worker");
    assert!(!reading.is_empty() && reading.iter().all(|policy| policy == other), "{reading:?}");
    let clients = [0, 1].map(|_| server.send(&long(1024)));
    server.wait_until("one waits", |server| server.metric("sslm_queue_requests", "") == 1.0);
    server.wait_until("what reads has its turns", |server| policies(server, "tokio-rt-worker").iter().any(|p| p == batch));
    assert_eq!(policies(&server, "ssl-worker-0"), [other]);
    for client in clients {
        assert_eq!(Answer::read(client).code, 200);
    }
}

#[test]
fn slow_and_broken_clients_hold_up_nobody() {
    let folder = models();
    let server = Server::start(&[folder.path().to_str().expect("its path is text"), "--timeout", "1"]);
    // A body that does not come.
    let mut slow = server.connect();
    slow.write_all(
        b"POST /v2/models/lenet/infer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{",
    )
    .expect("it is taken");
    // Heads that do not end, bodies that are cut off, and what is no HTTP at all.
    let sound =
        request("POST", "/v2/models/lenet/classify", &[], &std::fs::read(lenet().join("digits/7.png")).expect("it is there"));
    let mut random = fastrand::Rng::with_seed(7);
    let mut open = Vec::new();
    for i in 0..300 {
        let mut bytes = sound[..random.usize(..sound.len())].to_vec();
        if i % 3 == 0 {
            (0..4).for_each(|_| {
                if let Some(byte) = random.choice(&mut bytes) {
                    *byte = i as u8
                }
            });
        }
        let mut stream = server.connect();
        let _ = stream.write_all(&bytes);
        if i % 2 == 0 {
            open.push(stream);
        }
    }
    let answer = server.ask(
        "POST",
        "/v2/models/lenet/classify?top=1",
        &[],
        &std::fs::read(lenet().join("digits/7.png")).expect("it is there"),
    );
    assert_eq!(answer.json()["classes"][0]["label"], "7", "{}", answer.text());
    let answer = Answer::read(slow);
    assert_eq!(answer.code, 504, "{}", answer.text());
    assert!(answer.text().contains("the request did not arrive within 1.00 s"), "{}", answer.text());
    drop(open);
    server.wait_until("all connections ended", |server| server.metric("sslm_connections", "") == 1.0);
}

/// However small the pieces are in which it comes.
#[test]
fn a_body_takes_as_much_memory_as_it_has_bytes() {
    let folder = models();
    let server = Server::start(&[folder.path().to_str().expect("its path is text"), "--max-requests", "1"]);
    let mut stream = server.connect();
    let head =
        b"POST /v2/models/lenet/infer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head).expect("it is taken");
    stream.write_all(&b"1\r\n{\r\n".repeat(3000)).expect("it is taken");
    stream.write_all(b"0\r\n\r\n").expect("it is taken");
    let answer = Answer::read(stream);
    assert_eq!(answer.code, 400, "{}", answer.text());
}

#[test]
fn statistics_are_of_all_requests_and_runs() {
    let server = Server::start(&[&resnet(), "--workers", "1", "--max-batch", "8"]);
    let ask = |images: usize, side: usize| {
        let shape = [images, 3, side, side];
        let data = vec![0; shape.iter().product()];
        let input = json!({ "name": "image", "shape": shape, "datatype": "FP32", "data": data });
        server.infer("resnet20", &json!({ "inputs": [input] })).code
    };
    let stats = || server.ask("GET", "/v2/models/resnet20/stats", &[], b"").json()["model_stats"][0].clone();
    let none = json!({ "count": 0, "ns": 0 });
    let before = stats();
    assert_eq!([&before["inference_stats"]["success"], &before["last_inference"]], [&none, &json!(0)]);
    for (images, side, code) in [(1, 32, 200), (3, 32, 200), (3, 32, 200), (2, 31, 400)] {
        assert_eq!(ask(images, side), code);
    }
    let after = stats();
    let counts = ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output"];
    assert_eq!(counts.map(|name| after["inference_stats"][name]["count"].as_u64()), [3, 1, 3, 3, 3, 3].map(Some), "{after}");
    assert_eq!([&after["inference_count"], &after["execution_count"]], [7, 3], "{after}");
    let sizes = after["batch_stats"].as_array().expect("a list").iter();
    let sizes: Vec<_> = sizes.map(|size| [&size["batch_size"], &size["compute_infer"]["count"]].map(Value::as_u64)).collect();
    assert_eq!(sizes, [[1, 1], [3, 2]].map(|size| size.map(Some)), "{after}");
    // What is a part takes no longer than the whole, all of it some time, and less than the test.
    let [all, run, wait] =
        ["success", "compute_infer", "queue"].map(|name| after["inference_stats"][name]["ns"].as_u64().expect("a time"));
    assert!(run > 0 && run + wait <= all && all < 60_000_000_000, "{after}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later").as_millis() as u64;
    assert!(after["last_inference"].as_u64().is_some_and(|last| (now - 60_000..=now).contains(&last)), "{after}");
    assert_eq!(server.metric("sslm_images_total", "resnet20"), 7.0);
    let config = server.ask("GET", "/v2/models/resnet20/config", &[], b"").json();
    let batching = json!({ "preferred_batch_size": [8], "max_queue_delay_microseconds": 0 });
    assert_eq!(config["dynamic_batching"], batching, "{config}");
}

/// A PNG file of so many pixels, all black.
fn picture(width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let pixels = vec![0; width as usize * height as usize * 3];
    encoder.write_header().and_then(|mut file| file.write_image_data(&pixels)).expect("memory takes everything");
    file
}

/// Images that are large once they are decoded wait for memory, and keep nobody from being answered.
#[cfg(target_os = "linux")]
#[test]
fn images_take_no_more_memory_than_there_is() {
    let folder = models();
    // Each takes 48 MB.
    let (large, most) = (picture(4000, 4000), 60);
    let server = Server::start(&[folder.path().to_str().expect("its path is text"), "--max-requests", &most.to_string()]);
    let classify = |image: &[u8]| server.ask("POST", "/v2/models/lenet/classify?top=1", &[], image);
    let digit = std::fs::read(lenet().join("digits/7.png")).expect("it is there");
    let resident = |server: &Server, what: &str| -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("it is there");
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number of KiB")
    };
    assert_eq!(classify(&digit).code, 200);
    let before = resident(&server, "VmRSS:");
    let (left, answered) = (AtomicUsize::new(6), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..left.load(Relaxed) {
            scope.spawn(|| {
                let answer = classify(&large);
                assert_eq!(answer.code, 200, "{}", answer.text());
                left.fetch_sub(1, Relaxed);
            });
        }
        scope.spawn(|| {
            while left.load(Relaxed) > 1 {
                let answer = classify(&digit);
                assert_eq!(answer.json()["classes"][0]["label"], "7", "{}", answer.text());
                answered.fetch_add(1, Relaxed);
            }
        });
    });
    let grown = (resident(&server, "VmHWM:") - before) / 1024;
    eprintln!("{grown} MiB more were used; {} small images were answered meanwhile", answered.load(Relaxed));
    // What is no image takes some, too.
    assert!(grown < most + 16, "expected at most {most} MiB more, found {grown}");
    assert!(answered.load(Relaxed) > 20, "{} small images were answered", answered.load(Relaxed));
    // What there is never room for is refused by its first bytes.
    let answer = classify(&picture(9000, 3000)[..200]);
    assert_eq!(answer.code, 413, "{}", answer.text());
    let expected = "image: takes 78 MiB while it is decoded: expected at most 59";
    assert!(answer.text().contains(expected), "expected '{expected}', found '{}'", answer.text());
}

/// What packs and unpacks bodies, by the name that HTTP has for it.
type Packing = (&'static str, fn(&[u8]) -> Vec<u8>, fn(&[u8]) -> Vec<u8>);

const PACKINGS: [Packing; 2] = [
    (
        "gzip",
        |bytes| read_whole(flate2::read::GzEncoder::new(bytes, flate2::Compression::default())),
        |bytes| read_whole(flate2::read::GzDecoder::new(bytes)),
    ),
    (
        "deflate",
        |bytes| read_whole(flate2::read::ZlibEncoder::new(bytes, flate2::Compression::default())),
        |bytes| read_whole(flate2::read::ZlibDecoder::new(bytes)),
    ),
];

fn read_whole(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("it is sound");
    bytes
}

#[test]
fn bodies_are_unpacked_and_packed_as_clients_ask() {
    let folder = models();
    let server = Server::start(&[folder.path().to_str().expect("its path is text")]);
    let shape = [500, 2];
    let data: Vec<f32> = (0..1000).map(|i| i as f32 / 8.0).collect();
    let input = |name| json!({ "name": name, "shape": shape, "datatype": "FP32", "data": data });
    let body = json!({ "inputs": [input("a"), input("b")], "parameters": { "binary_data_output": true } }).to_string();
    let ask = |headers: &[(&str, &str)], body: &[u8]| server.ask("POST", "/v2/models/sum/infer", headers, body);
    let plain = ask(&[], body.as_bytes());
    assert_eq!(plain.code, 200, "{}", plain.text());
    assert!(!plain.head.contains("content-encoding"), "{}", plain.head);
    let digit = std::fs::read(lenet().join("digits/7.png")).expect("it is there");
    for (name, pack, unpack) in PACKINGS {
        let answer = ask(&[("content-encoding", name), ("accept-encoding", name)], &pack(body.as_bytes()));
        assert_eq!(answer.code, 200, "{name}: {}", answer.text());
        assert!(answer.head.contains(&format!("content-encoding: {name}")), "{name}: {}", answer.head);
        assert!(answer.head.contains("vary: accept-encoding"), "{name}: {}", answer.head);
        assert!(answer.body.len() < plain.body.len() && unpack(&answer.body) == plain.body, "{name}: another answer");
        // Where the JSON ends is said of what is unpacked.
        let len = |answer: &Answer| answer.head.lines().find(|line| line.starts_with("inference-header")).map(str::to_owned);
        assert!(len(&answer).is_some() && len(&answer) == len(&plain), "{name}: {}", answer.head);
        let answer = server.ask("POST", "/v2/models/lenet/classify?top=1", &[("content-encoding", name)], &pack(&digit));
        assert_eq!(answer.json()["classes"][0]["label"], "7", "{name}: {}", answer.text());
        // What is short is sent as it is.
        let answer = server.ask("GET", "/v2", &[("accept-encoding", name)], b"");
        assert_eq!(answer.json()["name"], "ssl-serve");
        let packed = pack(body.as_bytes());
        for damaged in [&packed[..packed.len() - 1], &packed[1..], body.as_bytes(), b"", &[&packed[..], b"x"].concat()] {
            let answer = ask(&[("content-encoding", name)], damaged);
            assert_eq!(answer.code, 400, "{name}: {}", answer.text());
            let expected = format!("content-encoding {name}: expected a whole and sound body");
            assert!(answer.text().contains(&expected), "{name}: {}", answer.text());
        }
    }
    let answer = ask(&[("content-encoding", "br")], body.as_bytes());
    assert_eq!(answer.code, 415, "{}", answer.text());
    assert!(answer.text().contains("content-encoding: expected gzip, deflate or none, found 'br'"), "{}", answer.text());
    assert!(answer.json()["error"].is_string());
}

/// What a body becomes is bounded, not only what comes of it.
#[test]
fn packed_bodies_take_no_more_than_others() {
    let folder = models();
    let place = folder.path().to_str().expect("its path is text");
    let server = Server::start(&[place, "--max-body", "8", "--max-requests", "6"]);
    for (name, pack, _) in PACKINGS {
        let classify =
            |len: usize| server.ask("POST", "/v2/models/lenet/classify", &[("content-encoding", name)], &pack(&vec![0; len]));
        let answer = classify(7 << 20);
        assert_eq!(answer.code, 503, "{}", answer.text());
        assert!(answer.text().contains("other requests take all memory"), "{}", answer.text());
        let answer = classify(5 << 20);
        assert_eq!(answer.code, 400, "{}", answer.text());
        assert!(answer.text().contains("image:"), "{}", answer.text());
    }
    let server = Server::start(&[place, "--max-body", "2"]);
    // A hundred kilobytes that would become a hundred megabytes.
    for (name, pack, _) in PACKINGS {
        let answer = server.ask("POST", "/v2/models/lenet/classify", &[("content-encoding", name)], &pack(&vec![0; 100_000_000]));
        assert_eq!(answer.code, 413, "{}", answer.text());
        assert!(answer.text().contains("the request has more than 2097152 bytes"), "{}", answer.text());
    }
}

/// Opening a pipe would wait for whoever writes into it.
#[cfg(unix)]
#[test]
fn what_is_no_file_keeps_no_model_from_being_served() {
    use sslm_tests::tools::make_pipe;
    let folder = models();
    make_pipe(&folder.path().join("pipe.sslm"));
    let server = Server::start(&[folder.path().to_str().expect("its path is text")]);
    assert_eq!(server.ask("GET", "/v2/models/lenet/ready", &[], b"").code, 200);
    let answer = server.ask("GET", "/v2/models/pipe/ready", &[], b"");
    assert!(answer.code == 503 && answer.text().contains("expected a regular file"), "{}", answer.text());
}

#[test]
fn who_may_ask() {
    let folder = models();
    let token = folder.path().join("token");
    std::fs::write(&token, "0123456789abcdef\n").expect("there is room");
    let [place, token] = [folder.path(), &token].map(|path| path.to_str().expect("its path is text").to_owned());
    let server = Server::start(&[&place, "--token-file", &token]);
    let shown = ("authorization", "Bearer 0123456789abcdef");
    for (path, headers, code) in [
        ("/v2/health/live", &[][..], 200),
        ("/", &[], 200),
        ("/v2", &[], 401),
        ("/metrics", &[], 401),
        ("/v2", &[("authorization", "Bearer 0123456789abcdeF")], 401),
        ("/v2", &[("authorization", "Bearer ")], 401),
        ("/v2", &[shown], 200),
        ("/v2", &[shown, ("host", "rebound.example:80")], 403),
        ("/v2", &[shown, ("host", "127.0.0.1:80")], 200),
        ("/v2", &[shown, ("origin", "http://other.example")], 403),
        ("/v2", &[shown, ("origin", "http://localhost")], 200),
    ] {
        let answer = server.ask("GET", path, headers, b"");
        assert_eq!(answer.code, code, "{path} {headers:?}: {}", answer.text());
    }
    let answer = server.ask("POST", "/v2/repository/models/lenet/unload", &[shown], b"");
    assert_eq!(answer.code, 403, "{}", answer.text());
    assert!(answer.text().contains("--allow-control"), "{}", answer.text());
}

#[test]
fn models_come_change_and_go_without_a_request_being_lost() {
    let folder = models();
    let place = |name: &str| folder.path().join(name);
    // Version 2 of LeNet is another network: what its layers keep tells them apart.
    let versions = ["lenet/lenet.sslm", "lenet-filters/lenet-filters.sslm"].map(|name| root().join("tools/models").join(name));
    let rename = |from: &Path, to: &Path| {
        let beside = place(".new");
        std::fs::copy(from, &beside).expect("there is room");
        std::fs::rename(beside, to).expect("they lie in one folder");
    };
    let server = Server::start(&[folder.path().to_str().expect("its path is text"), "--allow-control"]);
    let weights = |server: &Server| server.metric("sslm_weights_bytes", "model=\"lenet\",version=\"1\"");
    let first = weights(&server);
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let image = std::fs::read(lenet().join("digits/7.png")).expect("it is there");
                while !is_over.load(Relaxed) {
                    let answer = server.ask("POST", "/v2/models/lenet/classify?top=1", &[], &image);
                    assert_eq!(answer.code, 200, "{}", answer.text());
                    assert_eq!(answer.json()["classes"][0]["label"], "7");
                    answered.fetch_add(1, Relaxed);
                }
            });
        }
        let over = scopeguard(&is_over);
        rename(&versions[1], &place("lenet.sslm"));
        server.wait_until("the other file is served", |server| weights(server) != first);
        // What is no model takes nobody's place.
        std::fs::write(place(".new"), b"not a model").expect("there is room");
        std::fs::rename(place(".new"), place("lenet.sslm")).expect("they lie in one folder");
        let listed = |server: &Server| {
            let all = server.ask("POST", "/v2/repository/index", &[], b"").json();
            let mut all = all.as_array().expect("a list").iter();
            all.find(|model| model["name"] == "lenet").expect("it is one of them").clone()
        };
        let is_told = |server: &Server| listed(server)["reason"].as_str().is_some_and(|why| why.contains("magic"));
        server.wait_until("the list says what is wrong", is_told);
        assert_eq!(listed(&server)["state"], "READY");
        // Whoever asks for it is told, again and again.
        for _ in 0..2 {
            let answer = server.ask("POST", "/v2/repository/models/lenet/load", &[], b"");
            assert_eq!(answer.code, 503, "{}", answer.text());
            let why = answer.json()["error"].as_str().expect("a text").to_owned();
            assert!(why.contains("what was loaded before is still served: magic"), "{why}");
            assert!(!why.contains("lenet.sslm"), "no path: {why}");
        }
        rename(&versions[0], &place("lenet.sslm"));
        server.wait_until("the first file is served again", |server| weights(server) == first);
        assert_eq!(listed(&server)["reason"], "");
        assert_eq!(server.ask("POST", "/v2/repository/models/lenet/load", &[], b"").code, 200);
        drop(over);
    });
    eprintln!("{} requests were answered meanwhile", answered.load(Relaxed));
    assert!(answered.load(Relaxed) > 10);
    // Versions by number, and what goes.
    std::fs::create_dir_all(place("digits/3")).expect("there is room");
    rename(&versions[1], &place("digits/3/model.sslm"));
    server.wait_until("version 3 is served", |server| {
        server.ask("GET", "/v2/models/digits/versions/3/ready", &[], b"").code == 200
    });
    assert_eq!(server.ask("GET", "/v2/models/digits", &[], b"").json()["versions"], json!(["3"]));
    std::fs::remove_file(place("digits/3/model.sslm")).expect("it is there");
    server.wait_until("it is gone", |server| server.ask("GET", "/v2/models/digits/ready", &[], b"").code == 404);
}

/// Sets the flag when it is dropped, so that a test that fails ends its threads.
fn scopeguard(flag: &AtomicBool) -> impl Drop + '_ {
    struct Guard<'a>(&'a AtomicBool);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    Guard(flag)
}

#[test]
fn who_was_accepted_is_answered_before_the_end() {
    let mut server = Server::start(&[&resnet(), "--workers", "2"]);
    let clients: Vec<TcpStream> = (0..8).map(|_| server.send(&long(128))).collect();
    server.wait_until("all have arrived", |server| {
        server.metric("sslm_connections", "") == 9.0 && server.metric("sslm_queue_requests", "") > 0.0
    });
    // A request that has only begun to arrive was not accepted yet, and still is answered.
    let whole = long(1);
    let mut late = server.send(&whole[..whole.len() / 2]);
    thread::sleep(Duration::from_millis(50));
    server.terminate();
    thread::sleep(Duration::from_millis(50));
    late.write_all(&whole[whole.len() / 2..]).expect("it is taken");
    assert_eq!(Answer::read(late).code, 200);
    for client in clients {
        assert_eq!(Answer::read(client).code, 200);
    }
    assert_eq!(server.ended(), 0);
    assert!(TcpStream::connect(server.address).is_err(), "nobody listens any more");
}

#[test]
fn who_takes_too_long_to_end_is_said_to() {
    let mut server = Server::start(&[&resnet(), "--workers", "1", "--drain", "0.05"]);
    let _client = server.send(&long(4096));
    server.wait_until("it runs", |server| server.metric("sslm_connections", "") == 2.0);
    thread::sleep(Duration::from_millis(300));
    server.terminate();
    assert_eq!(server.ended(), 1, "a check that failed");
}

#[test]
fn tls_is_spoken() {
    let file = |name: &str| root().join("tests/serve/tls").join(name);
    let path = |name: &str| file(name).to_str().expect("its path is text").to_owned();
    let server = Server::start(&[&resnet(), "--tls-cert", &path("cert.pem"), "--tls-key", &path("key.pem")]);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("ca.pem")).expect("a certificate")).expect("an authority");
    let client = |roots| {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls_graviola::default_provider()));
        let config = builder
            .with_safe_default_protocol_versions()
            .expect("it has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let mut stream = StreamOwned::new(connection, server.connect());
        stream.write_all(&request("GET", "/v2/models/resnet20/ready", &[], b"")).map(|()| stream)
    };
    assert_eq!(Answer::read(client(roots).expect("it is trusted")).code, 200);
    assert!(client(RootCertStore::empty()).is_err(), "nobody vouches for it");
    // Who speaks plainly gets nothing.
    let mut plain = server.send(&request("GET", "/v2", &[], b""));
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[test]
fn wrong_calls_are_named() {
    let folder = models();
    let broken = folder.path().join("broken.sslm").to_str().expect("its path is text").to_owned();
    let lenet = lenet().join("lenet.sslm").to_str().expect("its path is text").to_owned();
    let short = folder.path().join("token");
    std::fs::write(&short, "short").expect("there is room");
    let short = short.to_str().expect("its path is text").to_owned();
    // A file and a folder that stand for the same version.
    let twice = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(twice.path().join("lenet/1")).expect("there is room");
    for place in ["lenet.sslm", "lenet/1/model.sslm"] {
        std::fs::copy(&lenet, twice.path().join(place)).expect("there is room");
    }
    let twice = twice.path().to_str().expect("its path is text");
    for (arguments, expected) in [
        (&["/nowhere/model.sslm"][..], "/nowhere/model.sslm"),
        (&[&broken], "broken.sslm"),
        (&[&lenet, "--listen", "localhost"], "--listen"),
        (&[&lenet, "--workers", "0"], "--workers: expected at least 1, found 0"),
        (&[&lenet, "--max-batch", "0"], "--max-batch: expected at least 1, found 0"),
        (&[&lenet, "--timeout=-1"], "--timeout"),
        (&[&lenet, "--token-file", &short], "expected a token of at least 16 characters, found 5"),
        (&[&lenet, "--tls-cert", &lenet, "--tls-key", &lenet], "lenet.sslm"),
        (&[&lenet, "--listen", "192.0.2.1:1"], "cannot listen on 192.0.2.1:1"),
        (&[&lenet, &lenet, "--timeout", "nan"], "--timeout"),
        (&[twice], "two models are called 'lenet', version 1: expected one, found"),
    ] {
        let output = command("ssl-serve").args(arguments).output().expect("it starts");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(expected), "{arguments:?}: expected '{expected}', found '{message}'");
    }
}
