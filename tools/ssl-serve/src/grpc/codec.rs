//! How messages become bytes and back: as prost does it, but that a message which consists of very many parts is refused before it is
//! read. A tensor without a name takes two bytes in a message, and a hundred in memory.

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Names, tensors, parameters and texts of a message are at most so many together.
const MAX_PARTS: usize = 4096;

/// Encodes `T`, and decodes `U` within bounds.
pub(super) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Bounded<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Bounded<U> {
        Bounded(ProstDecoder::default())
    }
}

/// Decodes what has few parts.
pub(super) struct Bounded<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for Bounded<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // It lies in one piece.
        if parts(message.chunk(), INFER_REQUEST) > MAX_PARTS {
            let expected = format!("message: expected at most {MAX_PARTS} names, tensors, parameters and texts, found more");
            return Err(Status::invalid_argument(expected));
        }
        // Whoever sent it has to know that the fault is not here, which is what INTERNAL would say.
        self.0.decode(message).map_err(|status| Status::invalid_argument(format!("message: {}", status.message())))
    }
}

/// Which fields of a message are messages that may have many parts, and which of their fields are.
struct Fields(&'static [(u32, Fields)]);

/// Of `ModelInferRequest`: inputs, whose contents may have texts, and outputs. No other message has such fields under these numbers.
const INFER_REQUEST: &Fields = &Fields(&[(5, Fields(&[(5, Fields(&[]))])), (6, Fields(&[]))]);

/// How many fields of a message have a length: texts, bytes, messages, parameters, and lists of numbers. What is no message ends it, as it
/// will end those who read it.
fn parts(mut message: &[u8], fields: &Fields) -> usize {
    let mut count = 0;
    while let Ok((tag, wire_type)) = decode_key(&mut message) {
        if wire_type != WireType::LengthDelimited {
            if skip_field(wire_type, tag, &mut message, DecodeContext::default()).is_err() {
                break;
            }
            continue;
        }
        let len = decode_varint(&mut message).ok().and_then(|len| usize::try_from(len).ok());
        let Some((field, rest)) = len.and_then(|len| message.split_at_checked(len)) else { break };
        count += 1;
        if let Some((_, inner)) = fields.0.iter().find(|(number, _)| *number == tag) {
            count += parts(field, inner);
        }
        message = rest;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
    use crate::grpc::inference::{InferParameter, InferTensorContents, ModelInferRequest};
    use bytes::Bytes;

    /// One of everything that a request may have many of.
    fn request() -> ModelInferRequest {
        let parameters = [("p".to_owned(), InferParameter::default())];
        let texts = InferTensorContents { bytes_contents: vec![Bytes::from("text")], ..Default::default() };
        let input = InferInputTensor {
            name: "x".to_owned(),
            shape: vec![1, 2],
            parameters: parameters.clone().into(),
            contents: Some(texts),
            ..Default::default()
        };
        let output = InferRequestedOutputTensor { name: "y".to_owned(), parameters: parameters.clone().into() };
        ModelInferRequest {
            model_name: "m".to_owned(),
            inputs: vec![input],
            outputs: vec![output],
            parameters: parameters.into(),
            raw_input_contents: vec![Bytes::from_static(&[0x2a, 0, 0x2a, 0])],
            ..Default::default()
        }
    }

    #[test]
    fn parts_of_all_kinds_count() {
        let count = |request: &ModelInferRequest| parts(&request.encode_to_vec(), INFER_REQUEST);
        // The model's name, the parameter and the raw contents; the input with its name, shape, parameter and contents, which have a
        // text; the output with its name and parameter.
        assert_eq!(count(&request()), 3 + 6 + 3);
        let many: [fn(&mut ModelInferRequest); 5] = [
            |request| request.inputs = vec![InferInputTensor::default(); MAX_PARTS],
            |request| request.outputs = vec![InferRequestedOutputTensor::default(); MAX_PARTS],
            |request| request.raw_input_contents = vec![Bytes::new(); MAX_PARTS],
            |request| request.parameters = (0..MAX_PARTS).map(|i| (i.to_string(), InferParameter::default())).collect(),
            |request| {
                request.inputs[0].contents.get_or_insert_default().bytes_contents = vec![Bytes::new(); MAX_PARTS];
            },
        ];
        for (i, make) in many.into_iter().enumerate() {
            let mut request = request();
            make(&mut request);
            assert!(count(&request) > MAX_PARTS, "{i}");
        }
    }

    /// Elements are no parts, packed or each by itself as old clients send them, and neither is what looks like messages within bytes.
    #[test]
    fn elements_count_for_nothing() {
        let mut request = request();
        request.raw_input_contents = vec![Bytes::from(vec![0x2a; 3 * MAX_PARTS])];
        request.inputs[0].contents = Some(InferTensorContents { fp32_contents: vec![0.0; 2 * MAX_PARTS], ..Default::default() });
        assert!(parts(&request.encode_to_vec(), INFER_REQUEST) < 20);
        // Field 3 of type varint: an extent of a shape.
        let each = [0x18, 0x01].repeat(2 * MAX_PARTS);
        assert_eq!(parts(&each, INFER_REQUEST), 0);
    }

    #[test]
    fn what_is_no_message_ends_the_count() {
        for message in
            [&[0x2a][..], &[0x2a, 0xff, 0xff, 0xff, 0xff, 0x0f], &[0x2a, 5, 0], &[0xff; 30], &[0x0b; 200], &[0x00, 0x00]]
        {
            assert!(parts(message, INFER_REQUEST) <= 1, "{message:?}");
        }
    }
}
