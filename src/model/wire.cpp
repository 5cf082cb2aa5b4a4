// SPDX-License-Identifier: Apache-2.0
#include "model/wire.hpp"

#include "model/lowering.hpp"
#include "model/strides.hpp"

#include <fmt/format.h>

#include <ATen/ATen.h>
#include <ATen/core/Dict.h>
#include <c10/util/order_preserving_flat_hash_map.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace amp4ec::detail {

namespace {

enum class Tag : std::uint8_t {
  None,
  Tensor,
  Undefined,
  Mkldnn,
  QuantizedPerTensor,
  QuantizedPerChannel,
  SparseCoordinates,
  SparseCompressed,
  Int,
  Double,
  Complex,
  Bool,
  String,
  Device,
  List,
  Tuple,
  Dict
};

constexpr std::size_t tensor_alignment = 64;
constexpr std::size_t max_dimensions = 64;  // LibTorch's own limit.
constexpr int max_depth = 32;               // A hostile peer must not overflow the stack.
struct Refusal {                            // Leaves the recursion of encode and decode; never leaves this file.
  Error error;
};

/// Counts bytes and, unless it only measures, writes them.
class Writer {
 public:
  explicit Writer(std::span<std::byte> slot) : slot_(slot) {}
  static Writer measuring() { return Writer(); }

  template <class T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes(&value, sizeof value);
  }

  void text(const std::string& text) {
    put(static_cast<std::uint64_t>(text.size()));
    bytes(text.data(), text.size());
  }

  /// Room for a tensor's elements; null when only measuring.
  std::byte* aligned(std::size_t count) {
    used_ = (used_ + tensor_alignment - 1) / tensor_alignment * tensor_alignment;
    return take(count);
  }

  [[nodiscard]] std::size_t used() const noexcept { return used_; }

 private:
  Writer() : measuring_(true) {}

  std::byte* take(std::size_t count) {
    const std::size_t at = used_;
    used_ += count;
    if (measuring_) return nullptr;
    if (used_ > slot_.size()) {
      throw Refusal{
          {Errc::MessageTooLarge,
           fmt::format("values of more than {} bytes do not fit a slot of {}; open the session with the largest "
                       "example that it will see",
                       at, slot_.size())}};
    }
    return slot_.data() + at;
  }

  void bytes(const void* data, std::size_t count) {
    std::byte* target = take(count);
    if (target != nullptr && count != 0) std::memcpy(target, data, count);
  }

  std::span<std::byte> slot_;
  std::size_t used_ = 0;
  bool measuring_ = false;
};

void write_strided(Writer& out, const at::Tensor& given) {
  at::Tensor tensor = given.resolve_conj().resolve_neg();
  // Strides are kept: kernels choose their path by them. Only where much more than the tensor shows would travel is it
  // packed.
  constexpr std::uint64_t most_waste = 2;
  if (extent(tensor) > most_waste * static_cast<std::uint64_t>(tensor.numel())) tensor = tensor.contiguous();
  out.put(Tag::Tensor);
  out.put(static_cast<std::int8_t>(tensor.scalar_type()));
  out.put(static_cast<std::uint64_t>(tensor.dim()));
  for (const std::int64_t size : tensor.sizes()) out.put(size);
  for (const std::int64_t stride : tensor.strides()) out.put(stride);
  const std::size_t count = extent(tensor) * tensor.element_size();
  std::byte* target = out.aligned(count);
  if (target != nullptr && count != 0) std::memcpy(target, tensor.data_ptr(), count);
}

[[noreturn]] void refuse_tensor(const at::Tensor& tensor) {
  throw Refusal{{Errc::ValueNotTransferable, fmt::format("a tensor of type {} cannot cross", tensor.toString())}};
}

void write_quantized(Writer& out, const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kQInt8:
    case at::kQUInt8:
    case at::kQInt32: break;
    default: refuse_tensor(tensor);  // Several elements in a byte.
  }
  if (tensor.qscheme() == at::kPerTensorAffine || tensor.qscheme() == at::kPerTensorSymmetric) {
    // Integers as they lie in memory, and how to turn them back: qnnpack's outputs are channels-last.
    const auto order = memory_order(tensor);
    out.put(Tag::QuantizedPerTensor);
    out.put(tensor.q_scale());
    out.put(tensor.q_zero_point());
    out.put(static_cast<std::uint64_t>(order.size()));
    for (const std::int64_t dimension : order) out.put(dimension);
    write_strided(out, tensor.permute(order).int_repr().contiguous());
  } else {
    out.put(Tag::QuantizedPerChannel);
    out.put(tensor.q_per_channel_axis());
    write_strided(out, tensor.q_per_channel_scales().contiguous());
    write_strided(out, tensor.q_per_channel_zero_points().contiguous());
    write_strided(out, tensor.int_repr().contiguous());
  }
}

void write_sparse(Writer& out, const at::Tensor& tensor) {
  const at::Layout layout = tensor.layout();
  const bool coordinates = layout == at::kSparse;
  const bool by_row = layout == at::kSparseCsr || layout == at::kSparseBsr;
  const bool by_column = layout == at::kSparseCsc || layout == at::kSparseBsc;
  if (!coordinates && !by_row && !by_column) refuse_tensor(tensor);
  out.put(coordinates ? Tag::SparseCoordinates : Tag::SparseCompressed);
  out.put(static_cast<std::uint64_t>(tensor.dim()));
  for (const std::int64_t size : tensor.sizes()) out.put(size);
  if (coordinates) {
    out.put(static_cast<std::uint8_t>(tensor.is_coalesced()));
    write_strided(out, tensor._indices().contiguous());
    write_strided(out, tensor._values().contiguous());
    return;
  }
  out.put(static_cast<std::int8_t>(layout));
  write_strided(out, (by_row ? tensor.crow_indices() : tensor.ccol_indices()).contiguous());
  write_strided(out, (by_row ? tensor.col_indices() : tensor.row_indices()).contiguous());
  write_strided(out, tensor.values().contiguous());
}

void write_tensor(Writer& out, const at::Tensor& tensor) {
  if (!tensor.defined()) {
    out.put(Tag::Undefined);
  } else if (!tensor.device().is_cpu()) {
    refuse_tensor(tensor);
  } else if (tensor.is_mkldnn()) {
    out.put(Tag::Mkldnn);
    write_strided(out, tensor.to_dense().contiguous());
  } else if (tensor.is_quantized()) {
    write_quantized(out, tensor);
  } else if (tensor.layout() == at::kStrided && !tensor.is_nested()) {
    write_strided(out, tensor);
  } else {
    write_sparse(out, tensor);
  }
}

void write_value(Writer& out, const c10::IValue& value, int depth) {
  if (depth > max_depth) {
    throw Refusal{{Errc::ValueNotTransferable, fmt::format("values nested more than {} deep cannot cross", max_depth)}};
  }
  if (value.isNone()) {
    out.put(Tag::None);
  } else if (value.isTensor()) {
    write_tensor(out, value.toTensor());
  } else if (value.isInt()) {
    out.put(Tag::Int);
    out.put(value.toInt());
  } else if (value.isDouble()) {
    out.put(Tag::Double);
    out.put(value.toDouble());
  } else if (value.isComplexDouble()) {
    out.put(Tag::Complex);
    out.put(value.toComplexDouble().real());
    out.put(value.toComplexDouble().imag());
  } else if (value.isBool()) {
    out.put(Tag::Bool);
    out.put(static_cast<std::uint8_t>(value.toBool()));
  } else if (value.isString()) {
    out.put(Tag::String);
    out.text(value.toStringRef());
  } else if (value.isDevice()) {
    out.put(Tag::Device);
    out.text(value.toDevice().str());
  } else if (value.isList()) {
    const auto list = value.toListRef();
    out.put(Tag::List);
    out.put(static_cast<std::uint64_t>(list.size()));
    for (const c10::IValue& element : list) write_value(out, element, depth + 1);
  } else if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    out.put(Tag::Tuple);
    out.put(static_cast<std::uint64_t>(elements.size()));
    for (const c10::IValue& element : elements) write_value(out, element, depth + 1);
  } else if (value.isGenericDict()) {
    const auto dict = value.toGenericDict();
    out.put(Tag::Dict);
    out.put(static_cast<std::uint64_t>(dict.size()));
    for (const auto& entry : dict) {
      write_value(out, entry.key(), depth + 1);
      write_value(out, entry.value(), depth + 1);
    }
  } else {
    throw Refusal{{Errc::ValueNotTransferable, fmt::format("a value of type {} cannot cross", value.tagKind())}};
  }
}

Result<std::size_t> write_all(Writer out, const Values& values) try {
  out.put(static_cast<std::uint64_t>(values.size()));
  for (const Value& value : values) write_value(out, value.ivalue(), 0);
  return out.used();
} catch (const Refusal& refusal) {
  return refusal.error;
} catch (const std::exception& exception) {
  return Error{Errc::ValueNotTransferable, first_line(exception)};
}

/// Reads within the bounds of a message. Each figure is copied out before it is checked: the peer can still write.
class Reader {
 public:
  Reader(std::span<const std::byte> message, std::shared_ptr<void> lease)
      : message_(message), lease_(std::move(lease)) {}

  template <class T>
  T get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, take(sizeof value), sizeof value);
    return value;
  }

  std::string text() {
    const auto size = get<std::uint64_t>();
    const std::byte* bytes = take(size);
    return {reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size)};
  }

  /// Number of elements that follow; each takes at least one byte, so a larger count is a lie.
  std::uint64_t count() {
    const auto count = get<std::uint64_t>();
    if (count > message_.size() - used_) fail("more elements than bytes");
    return count;
  }

  std::vector<std::int64_t> sizes(std::uint64_t dimensions) {
    if (dimensions > max_dimensions) fail("a tensor of too many dimensions");
    std::vector<std::int64_t> sizes(dimensions);
    for (std::int64_t& size : sizes) size = get<std::int64_t>();
    return sizes;
  }

  at::Tensor strided() {
    const auto code = get<std::int8_t>();
    const auto dtype = static_cast<at::ScalarType>(code);
    if (code < 0 || dtype >= at::ScalarType::Undefined || c10::isQIntType(dtype)) {
      fail("a tensor of unknown element type");
    }
    const auto dimensions = get<std::uint64_t>();
    const auto shape = sizes(dimensions);
    const auto strides = sizes(dimensions);
    const std::size_t bytes = storage_bytes(shape, strides, c10::elementSize(dtype));
    const std::size_t padding = (tensor_alignment - used_ % tensor_alignment) % tensor_alignment;
    (void)take(padding);
    const std::byte* data = take(bytes);
    const auto options = at::TensorOptions().dtype(dtype);
    if (lease_) {
      // LibTorch knows no constant tensors; that nobody writes these is the contract of `decode_in_place`.
      return at::from_blob(
          const_cast<std::byte*>(data), shape, strides, [lease = lease_](void*) {}, options);
    }
    at::Tensor copy = at::empty_strided(shape, strides, options);
    if (bytes != 0) std::memcpy(copy.data_ptr(), data, bytes);
    return copy;
  }

  /// A part of a tensor that is made of others. Making one copies its parts: they may not show more than the message
  /// holds, or a few bytes would take all memory.
  at::Tensor nested_strided() {
    if (get<Tag>() != Tag::Tensor) fail("a part of a tensor that is no tensor");
    at::Tensor part = strided();
    if (!part.is_contiguous()) fail("a part of a tensor that is not packed");
    return part;
  }

  at::Tensor quantized_per_tensor() {
    const auto scale = get<double>();
    const auto zero_point = get<std::int64_t>();
    const auto order = permutation();
    const at::Tensor integers = nested_strided();
    if (static_cast<std::size_t>(integers.dim()) != order.size()) fail("a quantized tensor of two ranks");
    return at::_make_per_tensor_quantized_tensor(integers, scale, zero_point).permute(inverse_of(order));
  }

  at::Tensor quantized_per_channel() {
    const auto axis = get<std::int64_t>();
    const at::Tensor scales = nested_strided();
    const at::Tensor zero_points = nested_strided();
    const at::Tensor integers = nested_strided();
    if (axis < 0 || axis >= integers.dim() || scales.numel() != integers.size(axis) ||
        zero_points.numel() != integers.size(axis)) {
      fail("a quantized tensor whose channels do not match");
    }
    return at::_make_per_channel_quantized_tensor(integers, scales, zero_points, axis);
  }

  // A peer can still write to its message: indices are copied before they are checked.
  at::Tensor sparse_coordinates() {
    const auto shape = sizes(get<std::uint64_t>());
    const bool coalesced = get<std::uint8_t>() != 0;
    const at::Tensor indices = nested_strided().clone();
    const at::Tensor values = nested_strided();
    at::_validate_sparse_coo_tensor_args(indices, values, shape);
    return at::sparse_coo_tensor(indices, values, shape)._coalesced_(coalesced);
  }

  at::Tensor sparse_compressed() {
    const auto shape = sizes(get<std::uint64_t>());
    const auto layout = static_cast<at::Layout>(get<std::int8_t>());
    const at::Tensor compressed = nested_strided().clone();
    const at::Tensor plain = nested_strided().clone();
    const at::Tensor values = nested_strided();
    at::_validate_sparse_compressed_tensor_args(compressed, plain, values, shape, layout);
    return at::sparse_compressed_tensor(compressed, plain, values, shape, values.options().layout(layout));
  }

  [[noreturn]] static void fail(const char* what) {
    throw Refusal{{Errc::ProtocolViolation, fmt::format("a message holds {}", what)}};
  }

 private:
  std::vector<std::int64_t> permutation() {
    auto order = sizes(get<std::uint64_t>());
    std::vector<bool> seen(order.size());
    for (const std::int64_t dimension : order) {
      if (dimension < 0 || dimension >= static_cast<std::int64_t>(order.size()) ||
          seen[static_cast<std::size_t>(dimension)]) {
        fail("an order of dimensions that is none");
      }
      seen[static_cast<std::size_t>(dimension)] = true;
    }
    return order;
  }

  const std::byte* take(std::uint64_t count) {
    if (count > message_.size() - used_) fail("less than it announces");
    const std::byte* at = message_.data() + used_;
    used_ += count;
    return at;
  }

  static std::size_t storage_bytes(const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>& strides,
                                   std::size_t element) {
    std::int64_t last = 0;
    for (std::size_t d = 0; d < sizes.size(); ++d) {
      if (sizes[d] < 0 || strides[d] < 0) fail("a tensor of negative size");
    }
    for (std::size_t d = 0; d < sizes.size(); ++d) {
      if (sizes[d] == 0) return 0;
      std::int64_t reach = 0;
      if (__builtin_mul_overflow(sizes[d] - 1, strides[d], &reach) || __builtin_add_overflow(last, reach, &last)) {
        fail("a tensor of impossible size");
      }
    }
    // An expanded tensor shows more than it holds; no machine could ever copy more than this.
    constexpr std::int64_t most_elements = std::int64_t{1} << 40;
    std::int64_t elements = 1;
    for (const std::int64_t size : sizes) {
      if (__builtin_mul_overflow(elements, size, &elements) || elements > most_elements) {
        fail("a tensor of impossible size");
      }
    }
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(static_cast<std::size_t>(last) + 1, element, &bytes))
      fail("a tensor of impossible size");
    return bytes;
  }

  std::span<const std::byte> message_;
  std::shared_ptr<void> lease_;
  std::size_t used_ = 0;
};

/// LibTorch's dictionaries double their table until colliding keys are apart: a few dozen chosen keys would take all
/// memory. This table grows as the dictionary's will.
class KeyGuard {
 public:
  void admit(const c10::IValue& key) {
    keys_.emplace(key, true);  // A key that LibTorch cannot hash throws.
    constexpr std::size_t most_buckets_per_key = 16;
    if (keys_.bucket_count() > most_buckets_per_key * (keys_.size() + most_buckets_per_key)) {
      Reader::fail("a dictionary whose keys collide");
    }
  }

 private:
  ska_ordered::order_preserving_flat_hash_map<c10::IValue, bool, c10::detail::DictKeyHash, c10::detail::DictKeyEqualTo>
      keys_;
};

c10::IValue read_value(Reader& in, int depth) {
  if (depth > max_depth) Reader::fail("values nested too deeply");
  switch (in.get<Tag>()) {
    case Tag::None: return {};
    case Tag::Undefined: return at::Tensor();
    case Tag::Tensor: return in.strided();
    case Tag::Mkldnn: return in.nested_strided().to_mkldnn();
    case Tag::QuantizedPerTensor: return in.quantized_per_tensor();
    case Tag::QuantizedPerChannel: return in.quantized_per_channel();
    case Tag::SparseCoordinates: return in.sparse_coordinates();
    case Tag::SparseCompressed: return in.sparse_compressed();
    case Tag::Int: return in.get<std::int64_t>();
    case Tag::Double: return in.get<double>();
    case Tag::Complex: {
      const auto real = in.get<double>();
      return c10::complex<double>(real, in.get<double>());
    }
    case Tag::Bool: return in.get<std::uint8_t>() != 0;
    case Tag::String: return in.text();
    case Tag::Device: return at::Device(in.text());
    case Tag::List: {
      c10::impl::GenericList list(c10::AnyType::get());
      for (std::uint64_t left = in.count(); left > 0; --left) list.push_back(read_value(in, depth + 1));
      return list;
    }
    case Tag::Tuple: {
      std::vector<c10::IValue> elements;
      for (std::uint64_t left = in.count(); left > 0; --left) elements.push_back(read_value(in, depth + 1));
      return c10::ivalue::Tuple::create(std::move(elements));
    }
    case Tag::Dict: {
      c10::impl::GenericDict dict(c10::AnyType::get(), c10::AnyType::get());
      KeyGuard guard;
      for (std::uint64_t left = in.count(); left > 0; --left) {
        c10::IValue key = read_value(in, depth + 1);
        guard.admit(key);
        dict.insert_or_assign(std::move(key), read_value(in, depth + 1));
      }
      return dict;
    }
  }
  Reader::fail("a value of unknown type");
}

Result<Values> read_all(Reader in) try {
  Values values;
  const std::uint64_t count = in.count();
  values.reserve(count);
  for (std::uint64_t left = count; left > 0; --left) values.emplace_back(read_value(in, 0));
  return values;
} catch (const Refusal& refusal) {
  return refusal.error;
} catch (const std::exception& exception) {
  return Error{Errc::ProtocolViolation, first_line(exception)};
}

}  // namespace

Result<std::size_t> encode(const Values& values, std::span<std::byte> slot) {
  return write_all(Writer(slot), values);
}

Result<std::size_t> encoded_size(const Values& values) {
  return write_all(Writer::measuring(), values);
}

Result<Values> decode_in_place(std::span<const std::byte> message, std::shared_ptr<void> lease) {
  return read_all(Reader(message, std::move(lease)));
}

Result<Values> decode_copy(std::span<const std::byte> message) {
  return read_all(Reader(message, nullptr));  // Without a lease nothing keeps a pointer into the message.
}

}  // namespace amp4ec::detail
