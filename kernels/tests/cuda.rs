//! The CUDA backend apart from what its kernels compute: that they compile, that the PTX is theirs, and what happens where a device
//! is missing or full.

use sslm_devices::{Edge, Emulated, Order, StandIn, emulated, gpu, has_nvrtc, stand_in};
use sslm_kernels::cuda::{Device, Error, PTX, names, source};

#[test]
fn the_ptx_is_of_this_source() {
    let expected = format!("// of the source with CRC-32 {:08x}\n", crc32fast::hash(source().as_bytes()));
    assert!(PTX.starts_with(&expected), "kernels.ptx is stale: kernels/examples/ptx.rs makes it anew");
    for name in names() {
        assert!(PTX.contains(&format!(".visible .entry {name}(")), "no kernel {name}");
    }
}

/// By whatever version of NVRTC is here.
#[test]
fn the_source_compiles() {
    use sslm_devices::nvrtc::{CompileOptions, compile_ptx_with_opts};
    if !has_nvrtc() {
        return;
    }
    for arch in ["compute_75", "compute_90"] {
        let options = CompileOptions { arch: Some(arch), ..Default::default() };
        compile_ptx_with_opts(source(), options).unwrap_or_else(|e| panic!("{arch}: {e:?}"));
    }
}

#[test]
fn without_a_driver_a_device_says_so() {
    match sslm_kernels::cuda::Gpu::open(0) {
        Ok(gpu) => assert!(!gpu.name().is_empty()),
        Err(Error::Unavailable(why)) => assert!(!why.is_empty()),
        Err(other) => panic!("{other:?} instead of `Unavailable`"),
    }
    // No machine has a device of this index.
    assert!(matches!(sslm_kernels::cuda::Gpu::open(1000), Err(Error::Unavailable(_))));
}

/// A device that has no room left says so, and works on.
#[test]
fn memory_ends_and_comes_back() {
    for device in emulated() {
        let device = device.with_memory(4000);
        let half = device.allocate(500).expect("there is room");
        assert_eq!(device.allocate(501).err(), Some(Error::OutOfMemory { bytes: 2004 }));
        drop(half);
        assert!(device.allocate(1000).is_ok());
    }
    if let Some(gpu) = gpu() {
        assert!(matches!(gpu.allocate(usize::MAX / 16), Err(Error::OutOfMemory { .. })));
        assert!(gpu.allocate(1 << 20).is_ok());
    }
}

/// What is written on one stream comes back as it was, whatever other streams do.
#[test]
fn elements_come_back() {
    let devices = emulated().into_iter().map(|device| std::sync::Arc::new(device) as std::sync::Arc<dyn Device>).chain(gpu());
    for device in devices {
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let device = &device;
                scope.spawn(move || {
                    let mut stream = device.stream().expect("a stream");
                    let elements: Vec<f32> = (0..1000).map(|i| (i * 3 + thread) as f32).collect();
                    let buffer = device.allocate(1000).expect("there is room");
                    stream.upload(&elements, buffer.view()).expect("an upload");
                    let mut found = vec![0.0; 500];
                    stream.download(buffer.part(250..750), &mut found).expect("a download");
                    assert_eq!(found, elements[250..750]);
                });
            }
        });
    }
}

/// What is large passes through memory of the host that is filled again and again.
#[test]
fn large_uploads_come_in_order() {
    let Some(device) = gpu() else { return };
    let mut stream = device.stream().expect("a stream");
    let len = (9 << 20) + 5;
    let mut elements: Vec<f32> = (0..len).map(|i| i as f32).collect();
    let [first, second] = [0; 2].map(|_| device.allocate(len).expect("there is room"));
    for buffer in [&first, &second] {
        stream.upload(&elements, buffer.view()).expect("an upload");
        elements.iter_mut().for_each(|x| *x = -*x); // may be changed at once
    }
    let mut found = vec![0.0; len];
    stream.download(second.view(), &mut found).expect("a download");
    assert!(found.iter().enumerate().all(|(i, &x)| x == -(i as f32)));
    stream.download(first.view(), &mut found).expect("a download");
    assert!(found == elements);
}

#[test]
#[should_panic(expected = "of 10 elements")]
fn parts_lie_within_their_buffer() {
    let Some(device) = Emulated::new(Order::Ascending, Edge::Behind).ok() else { panic!("without cc: 5..11 of 10 elements") };
    let buffer = device.allocate(10).expect("there is room");
    buffer.part(5..11);
}

/// By the code that talks to the driver. The device that all tests share is never closed.
#[test]
fn all_of_this_on_a_stand_in() {
    if let Some(stand_in) = stand_in().filter(|_| !StandIn::is_here()) {
        stand_in.run(&["cuda::", "--skip", "cuda::the_"], &[]).check(&["left: module", "left: context"]);
    }
}
