//! Every input that a fuzz target has in its corpus, findings among them, without the fuzzer.

use sslm_tests::fuzz::TARGETS;
use sslm_tests::tools::root;
use std::panic::catch_unwind;

#[test]
fn every_target_survives_its_corpus() {
    let mut failures = Vec::new();
    for (name, target) in TARGETS {
        let folder = root().join("tests/fuzz/corpus").join(name);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())).collect();
        assert!(!files.is_empty(), "{}: expected inputs, found none", folder.display());
        for path in files.into_iter().map(|file| file.expect("an entry").path()) {
            let input = std::fs::read(&path).expect("a readable file");
            if catch_unwind(|| target(&input)).is_err() {
                failures.push(path.display().to_string());
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
