//! Files that change while a model of them is in use: a copy stays what it was, and of a map it is found out.

use sslm::{ErrorKind, Model, Options, TensorView, Threads};
use sslm_tests::tools::lenet;
use std::fs::{File, FileTimes};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A copy of the shipped LeNet, in a folder of its own.
fn copied() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("lenet.sslm");
    std::fs::copy(lenet().join("lenet.sslm"), &path).expect("a writable folder");
    (folder, path)
}

fn map(path: &Path) -> Model {
    // SAFETY: the tests change the file, and read of the map only what is still there.
    unsafe { Model::open_mapped(path) }.expect("the model opens")
}

fn scores(model: &Model) -> Vec<f32> {
    let plan = model.prepare(&Options::new().threads(Threads::Single)).expect("it is prepared");
    let x = vec![0.5; 28 * 28];
    plan.session().run(TensorView::new(&[1, 1, 28, 28], &x).expect("it fits")).expect("it runs").data().to_vec()
}

/// Overwrites the last weights.
fn overwrite(path: &Path) {
    let mut file = File::options().write(true).open(path).expect("a writable file");
    file.seek(SeekFrom::End(-4000)).expect("a file");
    file.write_all(&[0x3f; 4000]).expect("a writable file");
}

#[test]
fn a_copy_stays_what_it_was() {
    let (_folder, path) = copied();
    let model = Model::read(&path).expect("the model opens");
    let expected = scores(&model);
    File::options().write(true).open(&path).and_then(|file| file.set_len(100)).expect("a writable file");
    assert_eq!(scores(&model), expected);
    model.ensure_unchanged().expect("it is a copy");
    model.verify_weights().expect("it is a copy");
}

#[test]
fn an_overwritten_map_is_found_out() {
    let (_folder, path) = copied();
    let model = map(&path);
    model.ensure_unchanged().expect("nothing has happened");
    overwrite(&path);
    // Whoever sets the time back hides nothing.
    let long_ago = SystemTime::now() - Duration::from_secs(100_000);
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_times(FileTimes::new().set_modified(long_ago)))
        .expect("a file");
    for _ in 0..2 {
        let error = model.ensure_unchanged().expect_err("weights are others");
        assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("lenet.sslm: the file changed while it was used: section WGTS"), "{error}");
    }
}

/// As `cp` does it with another model of the same size.
#[test]
fn a_sound_file_in_its_place_is_found_out() {
    let (_folder, path) = copied();
    let model = map(&path);
    let mut other = std::fs::read(&path).expect("the file");
    let weights = sslm_tests::file::section(&other, "WGTS").offset as usize;
    other[weights..].iter_mut().for_each(|byte| *byte ^= 1);
    sslm_tests::file::repair_checksums(&mut other);
    Model::from_bytes(&other).and_then(|other| other.verify_weights()).expect("a sound file");
    std::fs::write(&path, &other).expect("a writable file");
    model.ensure_unchanged().expect_err("weights are others");
}

#[test]
fn a_map_that_was_cut_off_is_found_out() {
    let (_folder, path) = copied();
    let model = map(&path);
    File::options().write(true).open(&path).and_then(|file| file.set_len(4096)).expect("a writable file");
    let error = model.ensure_unchanged().expect_err("bytes are missing");
    assert_eq!(*error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("bytes that it had when it was opened, found 4096"), "{error}");
}

#[test]
fn a_file_that_was_replaced_stays_in_the_map() {
    let (folder, path) = copied();
    let model = map(&path);
    let expected = scores(&model);
    let other = folder.path().join("other.sslm");
    std::fs::write(&other, "another file").expect("a writable folder");
    std::fs::rename(&other, &path).expect("a writable folder");
    model.ensure_unchanged().expect("the map is of the old file");
    assert_eq!(scores(&model), expected);
}
