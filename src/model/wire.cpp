// SPDX-License-Identifier: Apache-2.0
#include "model/wire.hpp"

#include "model/lowering.hpp"

#include <fmt/format.h>

#include <ATen/ATen.h>
#include <torch/csrc/jit/frontend/script_type_parser.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace amp4ec::detail {

namespace {

enum class Tag : std::uint8_t { None, Tensor, Undefined, Int, Double, Bool, String, List, Tuple, Dict };

constexpr std::size_t tensor_alignment = 64;
constexpr std::size_t max_dimensions = 64;  // LibTorch's own limit.
constexpr int max_depth = 32;               // A hostile peer must not overflow the stack.
constexpr std::array transferable_dtypes = {at::kByte,         at::kChar,          at::kShort, at::kInt,
                                            at::kLong,         at::kHalf,          at::kFloat, at::kDouble,
                                            at::kComplexFloat, at::kComplexDouble, at::kBool,  at::kBFloat16};

struct Refusal {  // Leaves the recursion of encode and decode; never leaves this file.
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

void write_tensor(Writer& out, const at::Tensor& given) {
  at::Tensor tensor = given.is_mkldnn() ? given.to_dense() : given;
  if (tensor.layout() != at::kStrided || !tensor.device().is_cpu() || tensor.is_quantized()) {
    throw Refusal{{Errc::ValueNotTransferable, fmt::format("a tensor of type {} cannot cross", tensor.toString())}};
  }
  tensor = tensor.resolve_conj().resolve_neg();
  // A layout with gaps or overlaps is packed: only what the tensor shows travels.
  if (!tensor.is_non_overlapping_and_dense()) tensor = tensor.contiguous();
  out.put(Tag::Tensor);
  out.put(static_cast<std::int8_t>(tensor.scalar_type()));
  out.put(static_cast<std::uint64_t>(tensor.dim()));
  for (const std::int64_t size : tensor.sizes()) out.put(size);
  for (const std::int64_t stride : tensor.strides()) out.put(stride);
  const std::size_t count = tensor.nbytes();
  std::byte* target = out.aligned(count);
  if (target != nullptr && count != 0) std::memcpy(target, tensor.data_ptr(), count);
}

void write_value(Writer& out, const c10::IValue& value) {
  if (value.isNone()) {
    out.put(Tag::None);
  } else if (value.isTensor()) {
    value.toTensor().defined() ? write_tensor(out, value.toTensor()) : out.put(Tag::Undefined);
  } else if (value.isInt()) {
    out.put(Tag::Int);
    out.put(value.toInt());
  } else if (value.isDouble()) {
    out.put(Tag::Double);
    out.put(value.toDouble());
  } else if (value.isBool()) {
    out.put(Tag::Bool);
    out.put(static_cast<std::uint8_t>(value.toBool()));
  } else if (value.isString()) {
    out.put(Tag::String);
    out.text(value.toStringRef());
  } else if (value.isList()) {
    const auto list = value.toListRef();
    out.put(Tag::List);
    out.text(value.type()->containedType(0)->annotation_str());  // An empty list has a type too.
    out.put(static_cast<std::uint64_t>(list.size()));
    for (const c10::IValue& element : list) write_value(out, element);
  } else if (value.isTuple()) {
    const auto& elements = value.toTupleRef().elements();
    out.put(Tag::Tuple);
    out.put(static_cast<std::uint64_t>(elements.size()));
    for (const c10::IValue& element : elements) write_value(out, element);
  } else if (value.isGenericDict()) {
    const auto dict = value.toGenericDict();
    out.put(Tag::Dict);
    out.text(dict.keyType()->annotation_str());
    out.text(dict.valueType()->annotation_str());
    out.put(static_cast<std::uint64_t>(dict.size()));
    for (const auto& entry : dict) {
      write_value(out, entry.key());
      write_value(out, entry.value());
    }
  } else {
    throw Refusal{{Errc::ValueNotTransferable, fmt::format("a value of type {} cannot cross", value.tagKind())}};
  }
}

Result<std::size_t> write_all(Writer out, const Values& values) try {
  out.put(static_cast<std::uint64_t>(values.size()));
  for (const Value& value : values) write_value(out, value.ivalue());
  return out.used();
} catch (const Refusal& refusal) {
  return refusal.error;
} catch (const std::exception& exception) {
  return Error{Errc::ValueNotTransferable, first_line(exception)};
}

/// Reads within the bounds of a message. Each figure is copied out before it is checked: the peer can still write.
class Reader {
 public:
  Reader(std::span<std::byte> message, std::shared_ptr<void> lease) : message_(message), lease_(std::move(lease)) {}

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

  at::Tensor tensor() {
    const auto dtype = static_cast<at::ScalarType>(get<std::int8_t>());
    if (std::find(transferable_dtypes.begin(), transferable_dtypes.end(), dtype) == transferable_dtypes.end()) {
      fail("a tensor of unknown element type");
    }
    const auto dimensions = get<std::uint64_t>();
    if (dimensions > max_dimensions) fail("a tensor of too many dimensions");
    std::vector<std::int64_t> sizes(dimensions);
    std::vector<std::int64_t> strides(dimensions);
    for (std::int64_t& size : sizes) size = get<std::int64_t>();
    for (std::int64_t& stride : strides) stride = get<std::int64_t>();
    const std::size_t bytes = storage_bytes(sizes, strides, c10::elementSize(dtype));
    const std::size_t padding = (tensor_alignment - used_ % tensor_alignment) % tensor_alignment;
    (void)take(padding);
    std::byte* data = take(bytes);
    const auto options = at::TensorOptions().dtype(dtype);
    if (lease_) {
      return at::from_blob(
          data, sizes, strides, [lease = lease_](void*) {}, options);
    }
    at::Tensor copy = at::empty_strided(sizes, strides, options);
    if (bytes != 0) std::memcpy(copy.data_ptr(), data, bytes);
    return copy;
  }

  [[noreturn]] static void fail(const char* what) {
    throw Refusal{{Errc::ProtocolViolation, fmt::format("a message holds {}", what)}};
  }

 private:
  std::byte* take(std::uint64_t count) {
    if (count > message_.size() - used_) fail("less than it announces");
    std::byte* at = message_.data() + used_;
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
    // What was sent is dense: as many elements as places, or it would show more than it holds.
    std::int64_t elements = 1;
    for (const std::int64_t size : sizes) {
      if (__builtin_mul_overflow(elements, size, &elements)) fail("a tensor of impossible size");
    }
    if (elements != last + 1) fail("a tensor that is not dense");
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(static_cast<std::size_t>(last) + 1, element, &bytes))
      fail("a tensor of impossible size");
    return bytes;
  }

  std::span<std::byte> message_;
  std::shared_ptr<void> lease_;
  std::size_t used_ = 0;
};

/// The type that `annotation_str` wrote. The parser costs more than a small message: the usual types go past it.
c10::TypePtr read_type(Reader& in) {
  constexpr std::size_t longest = 512;  // The parser recurses: a hostile text must not overflow the stack.
  const std::string text = in.text();
  if (text == "int") return c10::IntType::get();
  if (text == "float") return c10::FloatType::get();
  if (text == "bool") return c10::BoolType::get();
  if (text == "str") return c10::StringType::get();
  if (text == "Tensor") return c10::TensorType::get();
  if (text.size() > longest) Reader::fail("a type that is too long");
  return torch::jit::ScriptTypeParser().parseType(text);
}

c10::IValue read_value(Reader& in, int depth) {
  if (depth > max_depth) Reader::fail("values nested too deeply");
  switch (in.get<Tag>()) {
    case Tag::None: return {};
    case Tag::Tensor: return in.tensor();
    case Tag::Undefined: return at::Tensor();
    case Tag::Int: return in.get<std::int64_t>();
    case Tag::Double: return in.get<double>();
    case Tag::Bool: return in.get<std::uint8_t>() != 0;
    case Tag::String: return in.text();
    case Tag::List: {
      c10::impl::GenericList list(read_type(in));
      for (std::uint64_t left = in.count(); left > 0; --left) list.push_back(read_value(in, depth + 1));
      return list;
    }
    case Tag::Tuple: {
      std::vector<c10::IValue> elements;
      for (std::uint64_t left = in.count(); left > 0; --left) elements.push_back(read_value(in, depth + 1));
      return c10::ivalue::Tuple::create(std::move(elements));
    }
    case Tag::Dict: {
      const auto key_type = read_type(in);
      c10::impl::GenericDict dict(key_type, read_type(in));
      for (std::uint64_t left = in.count(); left > 0; --left) {
        c10::IValue key = read_value(in, depth + 1);
        dict.insert(std::move(key), read_value(in, depth + 1));
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

Result<Values> decode_in_place(std::span<std::byte> message, std::shared_ptr<void> lease) {
  return read_all(Reader(message, std::move(lease)));
}

Result<Values> decode_copy(std::span<const std::byte> message) {
  // Without a lease nothing keeps a pointer into the message, and nothing writes it.
  return read_all(Reader({const_cast<std::byte*>(message.data()), message.size()}, nullptr));
}

}  // namespace amp4ec::detail
