//! Makes `src/grpc/inference.rs` of `proto/inference.proto`: `cargo run --manifest-path tools/ssl-serve/generate/Cargo.toml`. With
//! `--check` nothing is written, and a file that is not current is exit code 1.

use anyhow::{Result, ensure};
use std::path::Path;
use std::process::Command;

fn main() -> Result<()> {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (proto, target) = (server.join("proto"), server.join("src/grpc/inference.rs"));
    let files = protox::compile(["inference.proto"], [&proto])?;
    let folder = std::env::temp_dir().join(format!("ssl-serve-generate-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    // Tensors stay where the request has them.
    let builder = tonic_prost_build::configure().build_client(false).bytes(".").codec_path("crate::grpc::codec::Codec");
    let builder = builder.out_dir(&folder);
    builder.compile_fds(files)?;
    let made = folder.join("inference.rs");
    // As `cargo fmt` leaves it, to which it is a file like any other.
    let formatted =
        Command::new("rustfmt").args(["--edition", "2024", "--config-path"]).arg(server.join("../..")).arg(&made).status()?;
    ensure!(formatted.success(), "rustfmt failed");
    let made = std::fs::read_to_string(made)?;
    std::fs::remove_dir_all(&folder)?;
    if std::env::args().any(|argument| argument == "--check") {
        let found = std::fs::read_to_string(&target)?;
        ensure!(found == made, "{} is not what {} says: run this without --check", target.display(), proto.display());
    } else {
        std::fs::write(&target, made)?;
    }
    Ok(())
}
