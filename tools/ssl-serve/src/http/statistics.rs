//! Statistics and configurations of models over HTTP, as Triton has them.

use super::parts::{Named, Shared};
use crate::described::{BACKEND, PLATFORM, config_dims, config_type, joining, max_batch_size};
use crate::failure::Failure;
use crate::measured::{Total, Totals};
use crate::served::Served;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use sslm::TensorInfo;
use std::sync::Arc;

pub(super) async fn all(State(server): Shared) -> Result<Json<Value>, Failure> {
    server.repository.ready(None, None).map(|served| statistics(&served))
}

pub(super) async fn of_model(State(server): Shared, named: Named) -> Result<Json<Value>, Failure> {
    server.repository.ready(Some(&named.model), named.version.as_deref()).map(|served| statistics(&served))
}

fn statistics(all: &[Arc<Served>]) -> Json<Value> {
    let of_one = |served: &Arc<Served>| {
        let totals = served.measured.totals();
        let Totals { success, fail, queue, compute, .. } = totals;
        let size = |(size, total): (&usize, &Total)| {
            let untimed = total.untimed();
            json!({ "batch_size": size, "compute_input": untimed, "compute_infer": total, "compute_output": untimed })
        };
        json!({
            "name": served.name,
            "version": served.version.to_string(),
            "last_inference": totals.last,
            "inference_count": totals.images,
            "execution_count": totals.runs,
            "inference_stats": {
                "success": success, "fail": fail, "queue": queue,
                "compute_input": compute.untimed(), "compute_infer": compute, "compute_output": compute.untimed(),
                // Answers are not kept for others.
                "cache_hit": Total::default(), "cache_miss": Total::default(),
            },
            "batch_stats": totals.sizes.iter().map(size).collect::<Vec<_>>(),
        })
    };
    Json(json!({ "model_stats": all.iter().map(of_one).collect::<Vec<_>>() }))
}

pub(super) async fn config(State(server): Shared, named: Named) -> Result<Json<Value>, Failure> {
    let served = server.served(&named)?;
    let batch = max_batch_size(&served, &server);
    let tensor = |info: &TensorInfo| json!({ "name": info.name, "data_type": config_type(info.element_type), "dims": config_dims(info, batch) });
    let mut config = json!({
        "name": served.name,
        "platform": PLATFORM,
        "backend": BACKEND,
        "version_policy": { "all": {} },
        "max_batch_size": batch.unwrap_or(0),
        "input": served.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "output": served.outputs.iter().map(tensor).collect::<Vec<_>>(),
        "model_transaction_policy": { "decoupled": false },
    });
    if let Some((size, delay)) = joining(&served, &server) {
        config["dynamic_batching"] = json!({ "preferred_batch_size": [size], "max_queue_delay_microseconds": delay });
    }
    Ok(Json(config))
}
