// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/value.hpp>

#include <cstddef>
#include <memory>
#include <span>

namespace amp4ec::detail {

/// Values as they lie in a payload slot: a typed tree, the bytes of each tensor in place and aligned to 64, so that the
/// receiver computes on them where they are. One copy on the way in, none on the way out.
/// Sender and receiver run the same build on the same machine: native byte order, no version.

/// Writes values into `slot`; returns the bytes used. Dense tensors keep their strides; others are made contiguous.
/// @error MessageTooLarge, ValueNotTransferable.
Result<std::size_t> encode(const Values& values, std::span<std::byte> slot);

/// Bytes that `encode` needs for these values. @error ValueNotTransferable.
Result<std::size_t> encoded_size(const Values& values);

/// Reads values whose tensors lie in `message`; each tensor's storage keeps `lease` alive. Nobody may write to them:
/// the message may lie in memory that cannot be written. Everything read is checked against the message's bounds first.
/// @error ProtocolViolation.
Result<Values> decode_in_place(std::span<const std::byte> message, std::shared_ptr<void> lease);

/// Reads values that own their tensors. @error ProtocolViolation.
Result<Values> decode_copy(std::span<const std::byte> message);

}  // namespace amp4ec::detail
