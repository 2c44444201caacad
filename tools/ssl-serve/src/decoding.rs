//! Images of requests as inputs of models. A file of some hundred bytes may hold as many pixels as take hundreds of megabytes while they are
//! decoded, so memory is asked for as soon as their count is known; where others have it, the image waits, and keeps nobody from decoding.

use crate::failure::{Failure, Kind};
use crate::memory::{KIB, Taken};
use crate::served::Served;
use crate::server::Server;
use crate::tensors::Tensor;
use anyhow::bail;
use bytes::Bytes;
use std::sync::Arc;

/// What became of an image with the memory that it had.
enum Outcome {
    Decoded(Tensor),
    /// It takes so many KiB, which were not free.
    Takes(usize),
    Failed(Failure),
}

/// The input that `image` becomes, and the memory that it takes.
pub(crate) async fn decoded(server: &Server, served: &Arc<Served>, image: &Bytes) -> Result<(Tensor, Taken), Failure> {
    let mut taken = server.memory.none();
    loop {
        let slot = Arc::clone(&server.decoders).acquire_owned().await;
        let (owner, file) = (Arc::clone(served), image.clone());
        let attempt = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let outcome = attempt(&owner, &file, &mut taken);
            (outcome, taken)
        });
        let (outcome, had) = attempt.await.map_err(|_| Failure::new(Kind::Internal, "the image could not be decoded"))?;
        taken = had;
        match outcome {
            Outcome::Decoded(input) => {
                taken.shrink_to(input.bytes.len().div_ceil(KIB));
                return Ok((input, taken));
            }
            Outcome::Takes(kib) => {
                // The request has its file besides.
                let most = server.memory.all().saturating_sub(image.len().div_ceil(KIB));
                if kib > most {
                    let what = format!("image: takes {} MiB while it is decoded: expected at most {}", kib / KIB, most / KIB);
                    return Err(Failure::new(Kind::TooLarge, what));
                }
                // Two that wait for what the other has would wait for ever.
                drop(taken);
                taken = server.memory.wait_for(kib).await;
            }
            Outcome::Failed(failure) => return Err(failure),
        }
    }
}

fn attempt(served: &Served, file: &Bytes, taken: &mut Taken) -> Outcome {
    let mut takes = None;
    let result = served.of_image(file, &mut |bytes| {
        let kib = usize::try_from(bytes.div_ceil(KIB as u64)).unwrap_or(usize::MAX);
        if taken.grow_to(kib).is_err() {
            takes = Some(kib);
            bail!("there is no room for it");
        }
        Ok(())
    });
    match (result, takes) {
        (Ok(input), _) => Outcome::Decoded(input),
        (Err(_), Some(kib)) => Outcome::Takes(kib),
        (Err(failure), None) => Outcome::Failed(failure),
    }
}
