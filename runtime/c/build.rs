//! Names the shared library by its major and minor version, by which programs find one that fits: until 1.0, a minor version may change
//! the interface.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let part = |name: &str| std::env::var(name).expect("cargo sets it");
    if part("CARGO_CFG_TARGET_OS") == "linux" {
        let (major, minor) = (part("CARGO_PKG_VERSION_MAJOR"), part("CARGO_PKG_VERSION_MINOR"));
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libsslm.so.{major}.{minor}");
    }
}
