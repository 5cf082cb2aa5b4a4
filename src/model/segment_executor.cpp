// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/model/segment_executor.hpp>

#include "model/aliases.hpp"
#include "model/graph_walk.hpp"
#include "model/in_place_executor.hpp"
#include "model/layer_graph_builder.hpp"
#include "model/lowering.hpp"
#include "model/optimize.hpp"
#include "model/segment_builder.hpp"
#include "model/tuned_executor.hpp"
#include "model/typed_value.hpp"
#include "model/value_copy.hpp"
#include "model/worker_memory.hpp"

#include <fmt/format.h>

#include <c10/core/InferenceMode.h>
#include <caffe2/serialize/read_adapter_interface.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/passes/tensorexpr_fuser.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <optional>

#include <malloc.h>

namespace amp4ec {

namespace jit = torch::jit;

std::string_view to_string(Form form) noexcept {
  return form == Form::Plain ? "plain" : "optimized";
}

Result<Form> parse_form(std::string_view text) {
  if (text == "plain") return Form::Plain;
  if (text == "optimized") return Form::Optimized;
  return Error{Errc::InvalidArgument, fmt::format("'{}' is not an execution form; use plain or optimized", text)};
}

namespace {

using Transform = std::function<jit::Module(jit::Module)>;

/// Lets LibTorch read an archive straight from memory, and remembers what went where.
class MemoryReader final : public caffe2::serialize::ReadAdapterInterface {
 public:
  explicit MemoryReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  /// Where the archive has what was last read to this address; empty when it did not go there in one piece.
  [[nodiscard]] std::optional<std::size_t> position_of(const void* buffer, std::size_t size) const {
    const auto found = reads_.find(buffer);
    if (found == reads_.end() || found->second.size != size) return std::nullopt;
    return found->second.position;
  }

  std::size_t size() const override { return bytes_.size(); }
  std::size_t read(std::uint64_t position, void* buffer, std::size_t count, const char* /*what*/) const override {
    if (position >= bytes_.size()) return 0;
    const std::size_t available = std::min<std::size_t>(count, bytes_.size() - position);
    std::memcpy(buffer, bytes_.data() + position, available);
    if (available >= worth_sharing) reads_[buffer] = {position, available};
    return available;
  }

 private:
  struct Read {
    std::size_t position;
    std::size_t size;
  };
  static constexpr std::size_t worth_sharing = 1024;

  std::span<const std::byte> bytes_;
  mutable std::map<const void*, Read> reads_;
};

/// Lets tensors of a module that was just loaded lie in the archive itself instead of in copies.
void use_in_place(const jit::Module& module, const MemoryReader& reader, std::span<std::byte> archive,
                  const std::shared_ptr<const void>& owner) {
  // LibTorch aligns tensors in archives so, and operators may count on it.
  constexpr std::uintptr_t alignment = 64;
  const auto move = [&](const at::Tensor& tensor) {
    if (!tensor.has_storage() || !tensor.device().is_cpu()) return;
    c10::StorageImpl* storage = tensor.storage().unsafeGetStorageImpl();
    const void* copy = storage->data();
    const auto position = reader.position_of(copy, storage->nbytes());
    // Another record may have been read there since, and the memory freed and used again.
    if (!position || std::memcmp(archive.data() + *position, copy, storage->nbytes()) != 0) return;
    std::byte* place = archive.data() + *position;
    if (reinterpret_cast<std::uintptr_t>(place) % alignment != 0) return;
    using Owner = std::shared_ptr<const void>;
    storage->set_data_ptr_noswap(at::DataPtr(
        place, new Owner(owner), [](void* kept) { delete static_cast<Owner*>(kept); }, at::Device(at::kCPU)));
  };
  detail::for_each_tensor(module._ivalue(), move);
  detail::for_each_node(*module.get_method("forward").graph()->block(), [&](jit::Node* node) {
    if (node->kind() == c10::prim::Constant)
      detail::for_each_tensor(jit::toIValue(node->output()).value_or(c10::IValue()), move);
  });
}

/// For each argument of `forward` after `self`: may the module write it or what it contains, or keep it?
std::vector<bool> arguments_taken(const jit::Module& module) {
  const auto graph = module.get_method("forward").graph()->copy();
  jit::Inline(*graph);
  const detail::Aliases aliases(graph);
  std::vector<const jit::Value*> stored;
  detail::for_each_node(*graph->block(), [&](jit::Node* node) {
    if (node->kind() == c10::prim::SetAttr) stored.push_back(node->input(1));
  });
  std::vector<bool> taken;
  for (jit::Value* input : graph->inputs().slice(1)) {
    taken.push_back(aliases.is_written(input) ||
                    std::any_of(stored.begin(), stored.end(),
                                [&](const jit::Value* value) { return aliases.share(input, value); }));
  }
  return taken;
}

class TorchScriptExecutor final : public SegmentExecutor {
 public:
  /// outputs: how many values the tuple holds that `forward` returns; empty: its one value is the answer.
  /// code: of classes that the module uses; types do not keep it.
  TorchScriptExecutor(const jit::Module& module, std::vector<bool> taken, std::optional<std::size_t> outputs,
                      std::shared_ptr<const jit::CompilationUnit> code = nullptr)
      : module_(module),
        code_(std::move(code)),
        forward_(module_.get_method("forward")),
        taken_(std::move(taken)),
        outputs_(outputs) {
    for (const c10::Argument& argument : forward_.function().getSchema().arguments()) types_.push_back(argument.type());
    types_.erase(types_.begin());  // self
  }

  Result<Values> run(const Values& inputs) override try {
    // Re-optimising in the first calls costs time and gains nothing on a graph that is already optimised or wanted
    // plain.
    const jit::GraphOptimizerEnabledGuard no_optimizer(false);
    const c10::InferenceMode inference;
    std::vector<c10::IValue> stack;
    stack.reserve(inputs.size() + 1);
    for (const Value& input : inputs) {
      const std::size_t i = stack.size();
      stack.push_back(i < taken_.size() && taken_[i] ? detail::copy_value(input.ivalue()) : input.ivalue());
      if (i < types_.size() && !detail::conform(stack.back(), types_[i])) {
        return Error{Errc::InputMismatch, fmt::format("argument {} is a {}, not a {}", i, input.ivalue().tagKind(),
                                                      types_[i]->annotation_str())};
      }
    }
    c10::IValue output = forward_(std::move(stack));
    Values outputs;
    if (!outputs_) {
      outputs.emplace_back(std::move(output));
      return outputs;
    }
    const auto& elements = output.toTupleRef().elements();
    if (elements.size() != *outputs_) {
      return Error{Errc::ExecutionFailed,
                   fmt::format("the segment returned {} values, not {}", elements.size(), *outputs_)};
    }
    outputs.reserve(elements.size());
    for (const c10::IValue& element : elements) outputs.emplace_back(element);
    return outputs;
  } catch (const std::exception& exception) {
    return detail::failure(exception, Errc::ExecutionFailed);
  } catch (...) {
    return Error{Errc::ExecutionFailed, "the model threw something that is no std::exception"};
  }

 private:
  jit::Module module_;
  std::shared_ptr<const jit::CompilationUnit> code_;
  jit::Method forward_;
  std::vector<bool> taken_;          // by argument: the caller's value must be copied
  std::vector<c10::TypePtr> types_;  // by argument
  std::optional<std::size_t> outputs_;
};

std::optional<std::size_t> tuple_size(std::size_t output_count) {
  return output_count == 1 ? std::nullopt : std::optional(output_count);
}

bool contains_class(const c10::Type& type) {
  if (type.kind() == c10::TypeKind::ClassType) return true;
  const auto contained = type.containedTypes();
  return std::any_of(contained.begin(), contained.end(), [](const auto& inner) { return contains_class(*inner); });
}

/// Whether the graph has objects of classes, whose methods live in the module's code. Its own class does not count.
bool uses_classes(jit::Graph& graph) {
  bool any = false;
  detail::for_each_node(*graph.block(), [&](const jit::Node* node) {
    any = any || std::any_of(node->outputs().begin(), node->outputs().end(),
                             [](const jit::Value* value) { return contains_class(*value->type()); });
  });
  const auto inputs = graph.inputs().slice(1);
  return any || std::any_of(inputs.begin(), inputs.end(),
                            [](const jit::Value* value) { return contains_class(*value->type()); });
}

/// The module in one form. It takes a copy: optimising changes graphs, calls change state. Not Module::clone(), whose
/// code joins that of the original: each form's weights would live as long as the last of them.
std::unique_ptr<SegmentExecutor> make_candidate(const jit::Module& module, const std::vector<bool>& taken,
                                                std::size_t outputs, const Transform& transform) {
  const detail::ReturnFreedMemory copies;
  const c10::FunctionSchema& schema = module.get_method("forward").function().getSchema();
  const auto graph = module.get_method("forward").graph()->copy();
  jit::Module own = detail::copy_module(detail::wrap_as_module(graph, module, schema.arguments()));
  const bool needs_code = uses_classes(*own.get_method("forward").graph());
  if (transform) own = transform(own);
  return std::make_unique<TorchScriptExecutor>(own, taken, tuple_size(outputs),
                                               needs_code ? module._ivalue()->compilation_unit() : nullptr);
}

/// False for operators that cannot be called once more only to be timed. An assertion can: scripts are full of them.
bool may_be_repeated(const jit::Block& block) {
  return std::none_of(block.nodes().begin(), block.nodes().end(), [](const jit::Node* node) {
    const auto blocks = node->blocks();
    const bool has_effect = node->hasSideEffects() && node->kind() != c10::prim::RaiseException;
    return detail::draws_random_numbers(node) || has_effect ||
           !std::all_of(blocks.begin(), blocks.end(), [](const jit::Block* inner) { return may_be_repeated(*inner); });
  });
}

std::unique_ptr<SegmentExecutor> build(const jit::Module& module, std::size_t outputs, Form form,
                                       std::string_view chosen = {}) {
  // Before optimising, which brings operators that alias analysis does not know.
  const auto taken = arguments_taken(module);
  const auto in_form = [&](const char* name, const Transform& transform) {
    return detail::Candidate{name, [=] { return make_candidate(module, taken, outputs, transform); }};
  };
  const auto plain = in_form("plain", nullptr);
  const auto optimized = in_form("optimized for inference", detail::optimize_for_inference);
  if (form == Form::Plain) return plain.make();
  if (module.type()->numAttributes() != 0) {  // State: a call more would change it.
    try {
      return optimized.make();
    } catch (const std::exception&) {
      return plain.make();  // LibTorch cannot transform every graph.
    }
  }
  if (!may_be_repeated(*module.get_method("forward").graph()->block())) return plain.make();
  const std::vector candidates{optimized, in_form("frozen", detail::optimize_frozen)};
  if (chosen == plain.name) return plain.make();
  for (const detail::Candidate& candidate : candidates) {
    if (candidate.name != chosen) continue;
    try {
      return candidate.make();
    } catch (const std::exception&) {
      // Chosen for other layers, or by another LibTorch.
    }
  }
  return std::make_unique<detail::TunedExecutor>(plain.make(), candidates);
}

}  // namespace

Result<std::unique_ptr<SegmentExecutor>> make_executor(const Segment& segment, Form form) try {
  return build(segment.module(), segment.output_count(), form);
} catch (const std::exception& exception) {
  return detail::failure(exception, Errc::ExecutionFailed, "LibTorch cannot prepare the segment: ");
}

Result<std::unique_ptr<SegmentExecutor>> make_executor(std::span<const std::byte> archive, std::size_t outputs,
                                                       Form form) try {
  return build(jit::load(std::make_shared<MemoryReader>(archive), at::Device(at::kCPU)), outputs, form);
} catch (const std::exception& exception) {
  return detail::failure(exception, Errc::ModelCorrupt, "LibTorch cannot load the segment: ");
}

Result<std::unique_ptr<SegmentExecutor>> detail::make_executor_in_place(std::span<std::byte> archive,
                                                                        std::shared_ptr<const void> owner,
                                                                        std::size_t outputs, Form form,
                                                                        std::string_view chosen) try {
  const auto reader = std::make_shared<MemoryReader>(archive);
  const jit::Module module = jit::load(reader, at::Device(at::kCPU));
  use_in_place(module, *reader, archive, owner);
  malloc_trim(0);  // The copies are free now, and would stay resident.
  return build(module, outputs, form, chosen);
} catch (const std::exception& exception) {
  return detail::failure(exception, Errc::ModelCorrupt, "LibTorch cannot load the segment: ");
}

std::string detail::chosen_form(const SegmentExecutor& executor) {
  const auto* tuned = dynamic_cast<const TunedExecutor*>(&executor);
  return tuned != nullptr && tuned->is_tuned() ? tuned->chosen() : std::string();
}

Result<std::unique_ptr<SegmentExecutor>> detail::make_reference_executor(const jit::Module& module) try {
  return std::unique_ptr<SegmentExecutor>(
      std::make_unique<TorchScriptExecutor>(module, arguments_taken(module), std::nullopt));
} catch (const std::exception& exception) {
  return Error{Errc::ModelRejected, detail::first_line(exception)};
}

void disable_fuser_in_this_process() {
  jit::setTensorExprFuserEnabled(false);
}

}  // namespace amp4ec
