//! The C interface, as C and C++ programs see it: the examples and a program of misuse, compiled with all warnings as errors and linked
//! with the library that was built beside this test.

#![cfg(target_os = "linux")]

use sslm_devices::has_compiler;
use sslm_tests::tools::{libraries, root};
use std::process::Command;

/// Compiles a program of `runtime/c`, and runs it on the model of the examples. Yields what it prints.
fn run(compiler: &str, standard: &str, source: &str, linking: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (c, program) = (root().join("runtime/c"), folder.path().join("program"));
    let mut compile = Command::new(compiler);
    compile.args([standard, "-Wall", "-Wextra", "-Werror"]).arg("-I").arg(c.join("include")).arg(c.join(source));
    compile.arg("-o").arg(&program).args(linking);
    succeed(&mut compile);
    let mut run = Command::new(&program);
    run.arg(root().join("runtime/examples/tiny.sslm")).env("LD_LIBRARY_PATH", folder.path());
    // The shared library's own name is what the program looks for.
    let shared = libraries().join("libsslm.so");
    let series = env!("CARGO_PKG_VERSION").rsplit_once('.').expect("a version has three parts").0;
    std::fs::copy(shared, folder.path().join(format!("libsslm.so.{series}"))).expect("the library was built");
    succeed(&mut run)
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn shared() -> [String; 2] {
    [format!("-L{}", libraries().display()), "-lsslm".to_owned()]
}

#[test]
fn the_example_in_c() {
    if !has_compiler("cc") {
        return;
    }
    let expected = "input image: -1 1 8 8\nimage 0: horizontal (0.688)\nimage 1: vertical (0.688)\n";
    let [path, library] = shared();
    assert_eq!(run("cc", "-std=c99", "examples/classify.c", &[&path, &library]), expected);
    let archive = libraries().join("libsslm.a");
    let archive = archive.to_str().expect("the path is text");
    assert_eq!(run("cc", "-std=c99", "examples/classify.c", &[archive, "-lpthread", "-ldl", "-lm"]), expected);
}

#[test]
fn the_example_in_cpp() {
    if !has_compiler("c++") {
        return;
    }
    let [path, library] = shared();
    let said = run("c++", "-std=c++14", "examples/threads.cpp", &[&path, &library, "-lpthread"]);
    assert_eq!(said, "55 of 55 images show a vertical line\n".repeat(4));
}

#[test]
fn misuse_is_told() {
    if !has_compiler("cc") {
        return;
    }
    let [path, library] = shared();
    assert_eq!(run("cc", "-std=c99", "tests/misuse.c", &[&path, &library]), "all as expected\n");
}
