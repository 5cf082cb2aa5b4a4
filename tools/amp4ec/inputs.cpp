// SPDX-License-Identifier: Apache-2.0
#include "inputs.hpp"

#include "files.hpp"
#include "text.hpp"

#include <fmt/format.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <torch/csrc/jit/serialization/pickle.h>

#include <exception>
#include <utility>

namespace amp4ec::cli {
namespace {

at::Tensor random_tensor(const InputSpec& spec, at::Generator& generator) {
  if (spec.integers) return at::randint(spec.max, spec.shape, generator, at::kLong);
  return at::randn(spec.shape, generator, at::kFloat);
}

at::Tensor vary(const at::Tensor& tensor, at::Generator& generator) {
  if (!tensor.defined() || tensor.numel() == 0) return tensor;
  if (!tensor.is_floating_point()) {
    return tensor.flatten().index({at::randperm(tensor.numel(), generator, at::kLong)}).reshape(tensor.sizes());
  }
  const at::Tensor noise = at::randn(tensor.sizes(), generator, at::kFloat).to(tensor.scalar_type());
  const double spread = tensor.numel() > 1 ? tensor.to(at::kDouble).std().item<double>() : 0;
  return tensor + noise * (0.1 * (spread > 0 ? spread : 1.0));
}

Values make_random(const std::vector<InputSpec>& specs, at::Generator& generator) {
  Values values;
  for (const InputSpec& spec : specs) values.emplace_back(random_tensor(spec, generator));
  return values;
}

/// The same structure with other numbers in its tensors.
c10::IValue vary(const c10::IValue& value, at::Generator& generator) {
  if (value.isTensor()) return vary(value.toTensor(), generator);
  if (value.isTuple()) {
    std::vector<c10::IValue> elements;
    for (const c10::IValue& element : value.toTupleRef().elements()) elements.push_back(vary(element, generator));
    return c10::ivalue::Tuple::create(std::move(elements));
  }
  if (value.isList()) {
    c10::impl::GenericList list(value.toList().elementType());
    for (const c10::IValue& element : value.toListRef()) list.push_back(vary(element, generator));
    return list;
  }
  if (value.isGenericDict()) {
    const auto given = value.toGenericDict();
    c10::impl::GenericDict dict(given.keyType(), given.valueType());
    for (const auto& entry : given) dict.insert(entry.key(), vary(entry.value(), generator));
    return dict;
  }
  return value;
}

Values vary_all(const Values& values, at::Generator& generator) {
  Values varied;
  for (const Value& value : values) varied.emplace_back(vary(value.ivalue(), generator));
  return varied;
}

Result<Values> read_example(const std::string& file) {
  const auto text = read_file(file);
  if (!text) return text.error();
  try {
    const c10::IValue loaded = torch::jit::pickle_load(std::vector<char>(text->begin(), text->end()));
    Values values;
    if (loaded.isTuple()) {
      for (const c10::IValue& element : loaded.toTupleRef().elements()) values.emplace_back(element);
    } else {
      values.emplace_back(loaded);
    }
    return values;
  } catch (const std::exception& exception) {
    return Error{
        Errc::InvalidArgument,
        fmt::format("'{}' does not hold an example: {}; write one in Python with torch.save((tensor, ...), file)", file,
                    first_line(exception))};
  }
}

/// A stream of its own for each set of inputs.
at::Generator generator_for(std::uint64_t seed, std::size_t index) {
  return at::detail::createCPUGenerator(seed * 1'000'003 + index);
}

}  // namespace

Result<Inputs> Inputs::random(std::span<const std::string> specs, std::uint64_t seed) try {
  Inputs inputs;
  inputs.seed_ = seed;
  for (const std::string& text : specs) {
    auto spec = parse_input_spec(text);
    if (!spec) return spec.error();
    inputs.specs_.push_back(std::move(*spec));
  }
  auto generator = generator_for(seed, 0);
  inputs.examples_.push_back(make_random(inputs.specs_, generator));
  return inputs;
} catch (const std::exception& exception) {
  return Error{Errc::InvalidArgument, fmt::format("cannot make such inputs: {}", first_line(exception))};
}

Result<Inputs> Inputs::from_files(std::span<const std::string> files, std::uint64_t seed) {
  Inputs inputs;
  inputs.seed_ = seed;
  for (const std::string& file : files) {
    auto example = read_example(file);
    if (!example) return example.error();
    inputs.examples_.push_back(std::move(*example));
  }
  return inputs;
}

Result<std::vector<Values>> Inputs::different(std::size_t count) const try {
  std::vector<Values> all;
  for (std::size_t i = 0; i < count; ++i) {
    const Values& example = examples_[i % examples_.size()];
    auto generator = generator_for(seed_, i);
    if (i < examples_.size()) {
      all.push_back(example);
    } else {
      all.push_back(specs_.empty() ? vary_all(example, generator) : make_random(specs_, generator));
    }
  }
  return all;
} catch (const std::exception& exception) {
  return Error{Errc::Internal, fmt::format("cannot make different inputs: {}", first_line(exception))};
}

}  // namespace amp4ec::cli
