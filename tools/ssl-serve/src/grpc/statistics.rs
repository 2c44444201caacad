//! Statistics and configurations of models over gRPC, as Triton has them.

use super::inference::model_version_policy::{All, PolicyChoice};
use super::inference::{
    DataType, InferBatchStatistics, InferStatistics, ModelConfig, ModelDynamicBatching, ModelInput, ModelOutput, ModelStatistics,
    ModelTransactionPolicy, ModelVersionPolicy, StatisticDuration,
};
use crate::described::{BACKEND, PLATFORM, config_dims, config_type, joining, max_batch_size};
use crate::measured::Total;
use crate::served::Served;
use crate::server::Server;
use sslm::{ElementType, TensorInfo};

pub(super) fn statistics(served: &Served) -> ModelStatistics {
    let totals = served.measured.totals();
    let duration = |Total { count, ns }: Total| Some(StatisticDuration { count, ns });
    let size = |(&size, &total): (&usize, &Total)| InferBatchStatistics {
        batch_size: size as u64,
        compute_input: duration(total.untimed()),
        compute_infer: duration(total),
        compute_output: duration(total.untimed()),
    };
    ModelStatistics {
        name: served.name.clone(),
        version: served.version.to_string(),
        last_inference: totals.last,
        inference_count: totals.images,
        execution_count: totals.runs,
        inference_stats: Some(InferStatistics {
            success: duration(totals.success),
            fail: duration(totals.fail),
            queue: duration(totals.queue),
            compute_input: duration(totals.compute.untimed()),
            compute_infer: duration(totals.compute),
            compute_output: duration(totals.compute.untimed()),
            // Answers are not kept for others.
            cache_hit: duration(Total::default()),
            cache_miss: duration(Total::default()),
        }),
        batch_stats: totals.sizes.iter().map(size).collect(),
    }
}

pub(super) fn config(served: &Served, server: &Server) -> ModelConfig {
    let batch = max_batch_size(served, server);
    let input = |info: &TensorInfo| ModelInput {
        name: info.name.clone(),
        data_type: data_type(info.element_type),
        dims: config_dims(info, batch),
    };
    let output = |info: &TensorInfo| ModelOutput {
        name: info.name.clone(),
        data_type: data_type(info.element_type),
        dims: config_dims(info, batch),
    };
    let batching = |(size, delay)| ModelDynamicBatching { preferred_batch_size: vec![size], max_queue_delay_microseconds: delay };
    ModelConfig {
        name: served.name.clone(),
        platform: PLATFORM.to_owned(),
        backend: BACKEND.to_owned(),
        version_policy: Some(ModelVersionPolicy { policy_choice: Some(PolicyChoice::All(All {})) }),
        max_batch_size: batch.unwrap_or(0),
        input: served.inputs.iter().map(input).collect(),
        output: served.outputs.iter().map(output).collect(),
        dynamic_batching: joining(served, server).map(batching),
        model_transaction_policy: Some(ModelTransactionPolicy { decoupled: false }),
    }
}

fn data_type(element_type: ElementType) -> i32 {
    DataType::from_str_name(&config_type(element_type)).map_or(0, i32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_types_have_a_number() {
        assert!(ElementType::ALL.iter().all(|&element_type| data_type(element_type) > 0));
    }
}
