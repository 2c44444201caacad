//! Loads a server, and says how many requests a second it answered and how long they took.
//!
//! With a rate, requests begin at random moments that do not depend on the answers (an open loop: a server that stalls is not spared what
//! would have come meanwhile), and latencies count from those moments. Without one, each connection asks again as soon as it is answered.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Load an ssl-serve that is at ADDRESS:PORT
#[derive(Parser)]
struct Arguments {
    /// Where the server is
    address: SocketAddr,
    /// The model to ask for
    model: String,
    /// Images of a request
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Requests a second, of all connections together; 0 asks as soon as there is an answer
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Connections
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// How long
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Stop after so many requests
    #[arg(long)]
    requests: Option<usize>,
    /// This part of the requests is malformed, cut off, slow or too large
    #[arg(long, default_value_t = 0.0)]
    broken: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What became of the requests.
#[derive(Default)]
struct Counted {
    /// Of those that were answered with 200.
    latencies: Vec<Duration>,
    /// Of the same, from when they were sent: what is left of a latency is this program's, which had no thread or core left for them.
    from_sending: Vec<Duration>,
    /// Of those that were refused with 503.
    refusals: Vec<Duration>,
    /// Those that were broken, and ended in any way but an answer of 500.
    broken: usize,
    /// Whatever should not be.
    failed: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.connections > 0 && arguments.batch > 0, "expected at least one connection and one image");
    let request = request(&arguments)?;
    let (schedule, next) = (schedule(&arguments), AtomicUsize::new(0));
    let counted = Mutex::new(Counted::default());
    let begun = Instant::now();
    thread::scope(|scope| {
        for index in 0..arguments.connections {
            let (arguments, schedule, next, counted, request) = (&arguments, &schedule, &next, &counted, &request);
            scope.spawn(move || {
                let mut connection = Connection { address: arguments.address, stream: None };
                let mut random = fastrand::Rng::with_seed(index as u64);
                let mut own = Counted::default();
                let end = begun + Duration::from_secs_f64(arguments.seconds);
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    let planned = if arguments.rate > 0.0 {
                        schedule.get(number).map(|after| begun + *after)
                    } else {
                        Some(Instant::now())
                    };
                    let Some(planned) = planned.filter(|at| *at < end && arguments.requests.is_none_or(|all| number < all))
                    else {
                        break;
                    };
                    thread::sleep(planned.saturating_duration_since(Instant::now()));
                    if random.f64() < arguments.broken {
                        match connection.break_something(request, &mut random) {
                            Some(500) => own.failed.push("a broken request was answered with 500".to_owned()),
                            _ => own.broken += 1,
                        }
                        continue;
                    }
                    let sent = Instant::now();
                    match connection.ask(request) {
                        Ok(200) => {
                            own.latencies.push(planned.elapsed());
                            own.from_sending.push(sent.elapsed());
                        }
                        Ok(503) => own.refusals.push(planned.elapsed()),
                        Ok(code) => own.failed.push(format!("code {code}")),
                        Err(e) => own.failed.push(format!("{e:#}")),
                    }
                }
                let mut all = counted.lock().expect("no thread panics");
                all.latencies.append(&mut own.latencies);
                all.from_sending.append(&mut own.from_sending);
                all.refusals.append(&mut own.refusals);
                all.failed.append(&mut own.failed);
                all.broken += own.broken;
            });
        }
    });
    let took = begun.elapsed().as_secs_f64();
    let mut counted = counted.into_inner().expect("no thread panics");
    counted.latencies.sort();
    counted.from_sending.sort();
    counted.refusals.sort();
    print(&arguments, &counted, took);
    match counted.failed.first() {
        None => Ok(()),
        Some(first) => bail!("{} requests failed: {first}", counted.failed.len()),
    }
}

fn print(arguments: &Arguments, counted: &Counted, took: f64) {
    let part = |all: &[Duration], part: f64| {
        let index = ((all.len() as f64 * part) as usize).min(all.len().saturating_sub(1));
        all.get(index).map_or(f64::NAN, Duration::as_secs_f64)
    };
    let answered = counted.latencies.len() as f64 / took;
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|wanted| part(&counted.latencies, wanted));
    let (sent_p99, refused) = (part(&counted.from_sending, 0.99), part(&counted.refusals, 0.99));
    if arguments.json {
        let figures = json!({
            "seconds": took, "answered": counted.latencies.len(), "refused": counted.refusals.len(), "broken": counted.broken,
            "failed": counted.failed.len(), "requests_per_second": answered, "images_per_second": answered * arguments.batch as f64,
            "p50": p50, "p99": p99, "p99.9": p999, "p99_from_sending": sent_p99, "refused_p99": refused,
        });
        println!("{figures}");
        return;
    }
    let time = ssl_cli::time;
    let images = answered * arguments.batch as f64;
    println!("{} answered: {answered:.0} requests/s, {images:.0} images/s", counted.latencies.len());
    println!("p50 {}, p99 {}, p99.9 {}; from when they were sent p99 {}", time(p50), time(p99), time(p999), time(sent_p99));
    histogram(&counted.latencies);
    if !counted.refusals.is_empty() {
        println!("{} refused, p99 {}", counted.refusals.len(), time(refused));
    }
    if counted.broken > 0 {
        println!("{} broken ones sent", counted.broken);
    }
}

/// How many latencies lie between each time and the next, which is a fifth longer; bars are as long as their part of all.
fn histogram(latencies: &[Duration]) {
    const WIDTH: f64 = 50.0;
    let bucket = |latency: &Duration| (latency.as_secs_f64().max(1e-9).ln() / 1.2f64.ln()).floor() as i32;
    for group in latencies.chunk_by(|a, b| bucket(a) == bucket(b)) {
        let part = group.len() as f64 / latencies.len() as f64;
        let bar = "#".repeat((part * WIDTH).round() as usize);
        let from = ssl_cli::time(1.2f64.powi(bucket(&group[0])));
        println!("{from:>9} {:>8} {bar}", group.len());
    }
}

/// When requests begin: with exponentially distributed times between them.
fn schedule(arguments: &Arguments) -> Vec<Duration> {
    let (mut random, mut at, mut schedule) = (fastrand::Rng::with_seed(42), 0.0, Vec::new());
    while arguments.rate > 0.0 && at < arguments.seconds {
        at -= (1.0 - random.f64()).ln() / arguments.rate;
        schedule.push(Duration::from_secs_f64(at));
    }
    schedule
}

/// An inference of as many images as was asked for, of zeros, as binary data.
fn request(arguments: &Arguments) -> Result<Vec<u8>> {
    let mut connection = Connection { address: arguments.address, stream: None };
    let path = format!("/v2/models/{}", arguments.model);
    let (code, body) = connection.exchange(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())?;
    let metadata: Value = serde_json::from_slice(&body).context("metadata of the model")?;
    ensure!(code == 200, "{metadata}");
    let (mut inputs, mut data) = (Vec::new(), Vec::new());
    for input in metadata["inputs"].as_array().context("inputs of the model")? {
        let extents = input["shape"].as_array().context("the shape of an input")?;
        let extent = |(axis, extent): (usize, &Value)| match extent.as_i64() {
            Some(extent @ 0..) => Ok(extent as usize),
            _ if axis == 0 => Ok(arguments.batch),
            _ => bail!("{}: expected a model whose images have one size", input["name"]),
        };
        let shape = extents.iter().enumerate().map(extent).collect::<Result<Vec<usize>>>()?;
        ensure!(input["datatype"] == "FP32", "{}: expected FP32", input["name"]);
        let size = 4 * shape.iter().product::<usize>();
        data.resize(data.len() + size, 0);
        let parameters = json!({ "binary_data_size": size });
        inputs.push(json!({ "name": input["name"], "shape": shape, "datatype": "FP32", "parameters": parameters }));
    }
    let head = json!({ "inputs": inputs, "parameters": { "binary_data_output": true } }).to_string();
    let lens = format!("content-length: {}\r\ninference-header-content-length: {}", head.len() + data.len(), head.len());
    Ok([format!("POST {path}/infer HTTP/1.1\r\nhost: localhost\r\n{lens}\r\n\r\n{head}").as_bytes(), &data].concat())
}

struct Connection {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    fn open(&mut self) -> Result<&mut BufReader<TcpStream>> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).context("cannot connect")?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(60)))?;
            self.stream = Some(BufReader::new(stream));
        }
        self.stream.as_mut().context("it was opened")
    }

    fn ask(&mut self, request: &[u8]) -> Result<u16> {
        self.exchange(request).map(|(code, _)| code)
    }

    /// Sends a request and reads its answer.
    fn exchange(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        let answer = self.open().and_then(|stream| {
            stream.get_mut().write_all(request).context("cannot send")?;
            answer(stream)
        });
        if answer.is_err() {
            self.stream = None;
        }
        let (code, stays, body) = answer?;
        if !stays {
            self.stream = None;
        }
        Ok((code, body))
    }

    /// Sends what no client should, and tells what it was answered with, if it was.
    fn break_something(&mut self, request: &[u8], random: &mut fastrand::Rng) -> Option<u16> {
        let stream = self.open().ok()?;
        let cut = random.usize(..request.len());
        let code = match random.usize(..6) {
            // The client leaves in the middle of its request.
            0 => stream.get_mut().write_all(&request[..cut]).is_err().then_some(0),
            // It leaves before the answer.
            1 => stream.get_mut().write_all(request).is_err().then_some(0),
            // It is slow, and then goes on.
            2 => {
                let (head, rest) = request.split_at(cut);
                stream.get_mut().write_all(head).ok()?;
                thread::sleep(Duration::from_millis(100));
                stream.get_mut().write_all(rest).ok()?;
                answer(stream).ok().map(|(code, ..)| code)
            }
            3 => {
                let huge = b"POST /v2/models/x/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999999\r\n\r\n{";
                stream.get_mut().write_all(huge).ok()?;
                answer(stream).ok().map(|(code, ..)| code)
            }
            // Elements that are changed are others; JSON and heads that are changed are wrong.
            4 => {
                let mut changed = request.to_vec();
                for _ in 0..8 {
                    let place = random.usize(..changed.len().min(400));
                    changed[place] = random.u8(..);
                }
                stream.get_mut().write_all(&changed).ok()?;
                let _ = stream.get_mut().shutdown(Shutdown::Write);
                answer(stream).ok().map(|(code, ..)| code)
            }
            _ => {
                let noise: Vec<u8> = (0..200).map(|_| random.u8(..)).collect();
                stream.get_mut().write_all(&noise).ok()?;
                let _ = stream.get_mut().shutdown(Shutdown::Write);
                answer(stream).ok().map(|(code, ..)| code)
            }
        };
        self.stream = None;
        code
    }
}

/// An answer, and whether the connection stays.
fn answer(stream: &mut BufReader<TcpStream>) -> Result<(u16, bool, Vec<u8>)> {
    let (mut code, mut len, mut stays) = (0, 0, true);
    for number in 0.. {
        let mut line = String::new();
        ensure!(stream.read_line(&mut line).context("cannot read")? > 0, "the connection was closed before an answer");
        let line = line.trim_end().to_lowercase();
        if number == 0 {
            code = line.split(' ').nth(1).and_then(|code| code.parse().ok()).with_context(|| format!("'{line}'"))?;
        } else if line.is_empty() {
            break;
        } else if let Some(value) = line.strip_prefix("content-length: ") {
            len = value.parse().context("the length of an answer")?;
        } else if line == "connection: close" {
            stays = false;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).context("the answer was cut off")?;
    Ok((code, stays, body))
}
