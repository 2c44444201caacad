//! What a call leaves behind that is ended, that meets a limit, or one of whose outputs cannot be written: nothing.
#![cfg(target_os = "linux")]

use sslm_tests::onnx::{Net, encode};
use sslm_tests::tools::{Run, command, lenet, run};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Waits until a process has made a file in a folder, with or without a name; whether it has.
fn makes_a_file(process: &mut Child, folder: &Path) -> bool {
    let open = PathBuf::from(format!("/proc/{}/fd", process.id()));
    // Of a file without a name the system tells the folder all the same.
    let is_inside = |link: PathBuf| {
        std::fs::read_link(link).is_ok_and(|file| file.starts_with(folder) && file.to_string_lossy().ends_with("(deleted)"))
    };
    while process.try_wait().expect("a process").is_none() {
        let links = std::fs::read_dir(&open).into_iter().flatten().flatten();
        if links.map(|link| link.path()).any(is_inside) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

fn send(signal: &str, process: &Child) {
    let sent = Command::new("kill").args(["-s", signal, &process.id().to_string()]).status();
    assert!(sent.expect("kill starts").success(), "{signal}: it runs");
}

/// The signals that end a tool end it as ever, but no partial file stays; those that `nohup` and the like ignore stay ignored.
#[test]
fn signals_leave_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("lenet.sslm");
    std::fs::copy(lenet().join("lenet.sslm"), &model).expect("a writable folder");
    let tool = command("ssl-run").get_program().to_owned();
    let default = "--default-signal=HUP,INT,TERM";
    for (ignored, signals, ended_by) in [
        (default, &["INT"][..], 2),
        (default, &["TERM"], 15),
        (default, &["HUP"], 1),
        ("--ignore-signal=HUP", &["HUP", "TERM"], 15),
        (default, &["KILL"], 9),
    ] {
        let mut tune = Command::new("env");
        tune.args([default, ignored]).arg(&tool).arg(&model).args(["--tune", "--threads", "1"]);
        let mut process = tune.spawn().expect("env");
        assert!(makes_a_file(&mut process, folder.path()), "it makes a file first");
        for signal in signals {
            send(signal, &process);
            std::thread::sleep(Duration::from_millis(50));
        }
        let status = process.wait().expect("a process");
        assert_eq!(
            (status.signal(), files(folder.path())),
            (Some(ended_by), vec!["lenet.sslm".to_owned()]),
            "{ignored}, {signals:?}"
        );
    }
}

/// Whenever a conversion is killed, its folder is empty, or holds all that it was to write.
#[test]
fn killed_conversions_leave_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let mut killed = 0;
    for milliseconds in [0, 5, 20, 50, 100, 200] {
        let mut convert = command("ssl-convert");
        convert.arg(lenet().join("lenet.onnx")).arg("-o").arg(at("m.sslm")).arg("--report").arg(at("m.json"));
        let mut process = convert.stdout(std::process::Stdio::null()).spawn().expect("the tool starts");
        assert!(makes_a_file(&mut process, folder.path()), "it makes a file first");
        std::thread::sleep(Duration::from_millis(milliseconds));
        process.kill().expect("it can be killed");
        let status = process.wait().expect("a process");
        let left = files(folder.path());
        if status.signal() == Some(9) && left.is_empty() {
            killed += 1;
        } else {
            assert_eq!(left, ["m.json", "m.sslm"], "after {milliseconds} ms: {status}");
            left.iter().for_each(|name| std::fs::remove_file(at(name)).expect("our own file"));
        }
    }
    assert!(killed > 0, "at once is before the end");
}

/// A conversion of a model of few weights, whose report is longer than the model, under a limit on the size of files.
fn limited(folder: &Path, bytes: usize, arguments: &[&str]) -> Run {
    let mut net = Net::new(&["1", "1", "4", "4"]);
    let mut y = "x".to_owned();
    for _ in 0..8 {
        y = net.conv(&y, [1, 1, 1, 1], &[2.0], &[1.0], &[]);
        y = net.node("Sin", &[&y], &[]);
    }
    std::fs::write(folder.join("m.onnx"), encode(&net.finish(&[&y]))).expect("a writable folder");
    let mut limited = Command::new("prlimit");
    limited.current_dir(folder).arg(format!("--fsize={bytes}")).arg(command("ssl-convert").get_program());
    let Output { status, stdout, stderr } = limited.args(["m.onnx", "-o", "m.sslm"]).args(arguments).output().expect("prlimit");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
    Run { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

/// A limit on the size of files is an error like a full disk, and an output that cannot be written leaves none of the others.
#[test]
fn limits_are_errors_that_leave_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    let whole = limited(folder.path(), 1 << 20, &["--report", "m.json"]);
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    let [model, report] = ["m.sslm", "m.json"].map(|name| std::fs::metadata(at(name)).expect("the file").len());
    assert!(report > model + 200, "{report} bytes of {model} bytes");
    let large = model as usize + 100;

    for (there, bytes, arguments, named) in [
        (false, 1000, &["--verify", "0"][..], "m.sslm"),
        (false, 1000, &["--report", "m.json"], "m.sslm"),
        (false, large, &["--report", "m.json"], "m.json"),
        (true, large, &["--report", "m.json"], "m.json"),
    ] {
        for name in ["m.sslm", "m.json"] {
            if there {
                std::fs::write(at(name), "old").expect("a writable folder");
            } else {
                let _ = std::fs::remove_file(at(name));
            }
        }
        let Run { code, stdout, stderr } = limited(folder.path(), bytes, arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{bytes} bytes {arguments:?}: {stderr}");
        assert!(stderr.contains(&format!("cannot write {named}: File too large")), "{stderr}");
        let expected: &[&str] = if there { &["m.json", "m.onnx", "m.sslm"] } else { &["m.onnx"] };
        assert_eq!(files(folder.path()), expected, "{bytes} bytes {arguments:?}");
        assert!(!there || ["m.sslm", "m.json"].iter().all(|name| std::fs::read(at(name)).is_ok_and(|text| text == b"old")));
    }

    // Standard output may be a file, too.
    let printed = std::fs::File::create(at("printed")).expect("a writable folder");
    let mut shown = Command::new("prlimit");
    shown.arg("--fsize=100").arg(command("ssl-inspect").get_program()).arg(lenet().join("lenet.sslm")).stdout(printed);
    let output = shown.output().expect("prlimit");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && message.contains("standard output: File too large"), "{message}");
    assert_eq!(run("ssl-inspect", &["--version"]).code, 0);
}
