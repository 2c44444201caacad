//! The checked-in header is what cbindgen makes of the source. `SSLM_WRITE_HEADER=1 cargo test -p sslm-c` writes it anew.

use std::path::Path;

#[test]
fn the_header_is_current() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(here.join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in ["status.rs", "model.rs", "runner.rs"] {
        builder = builder.with_src(here.join("src").join(file));
    }
    let mut made = Vec::new();
    builder.generate().expect("cbindgen reads the source").write(&mut made);
    let made = String::from_utf8(made).expect("a header is text");
    let path = here.join("include/sslm.h");
    if std::env::var_os("SSLM_WRITE_HEADER").is_some() {
        std::fs::write(&path, &made).expect("the header can be written");
    }
    let stored = std::fs::read_to_string(&path).expect("the header is checked in");
    assert_eq!(stored, made, "include/sslm.h is not what the source says: SSLM_WRITE_HEADER=1 cargo test -p sslm-c writes it");
}
