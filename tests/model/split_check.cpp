// SPDX-License-Identifier: Apache-2.0
#include "model/split_check.hpp"

#include "support/catch.hpp"

#include <amp4ec/model/compare.hpp>
#include "model/typed_value.hpp"
#include "model/value_copy.hpp"
#include "model/wire.hpp"

#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import_source.h>
#include <torch/version.h>

#include <sstream>

namespace amp4ec::test {

namespace {

c10::IValue call(torch::jit::Module& module, const Values& values) {
  const auto& arguments = module.get_method("forward").function().getSchema().arguments();
  std::vector<c10::IValue> stack;
  for (const Value& value : values) {
    c10::IValue typed = value.ivalue();
    REQUIRE(detail::conform(typed, arguments.at(stack.size() + 1).type()));
    stack.push_back(std::move(typed));
  }
  return module.forward(stack);
}

}  // namespace

torch::jit::Module reloaded(const torch::jit::Module& module) {
  std::stringstream archive;
  module.save(archive);
  return torch::jit::load(archive);
}

Values copies_of(const Values& values) {
  Values copies;
  for (const Value& value : values) copies.emplace_back(detail::copy_value(value.ivalue()));
  return copies;
}

Value run_whole(const Model& model, const Values& inputs) {
  return model.reference_executor().value()->run(model.check_inputs(inputs).value()).value().front();
}

Values answers_of_unsplit(const Model& model, const std::vector<Values>& inputs) {
  const torch::NoGradGuard no_gradients;
  const torch::jit::GraphOptimizerEnabledGuard no_optimizer(false);
  torch::jit::Module module = reloaded(model.unsplit());
  Values answers;
  for (const Values& input : inputs) {
    const c10::IValue answer = call(module, copies_of(model.check_inputs(input).value()));
    answers.emplace_back(detail::copy_value(answer));  // The next call may write it.
  }
  return answers;
}

Values over_the_wire(const Values& values) {
  const auto slot = std::make_shared<std::vector<std::byte>>(detail::encoded_size(values).value());
  (void)detail::encode(values, *slot).value();
  return detail::decode_in_place(*slot, slot).value();
}

Value Executors::run(const Model& model, const Values& inputs) {
  Values values = model.check_inputs(inputs).value();
  for (const auto& segment : segments) values = segment->run(over_the_wire(values)).value();
  return values.front();
}

Executors split_through_archives(const Model& model, const std::vector<std::size_t>& ends, Form form) {
  Executors executors;
  std::size_t first = 0;
  for (std::size_t i = 0; i <= ends.size(); ++i) {
    const std::size_t last = i < ends.size() ? ends[i] : model.layer_count() - 1;
    const Segment segment = model.segment(first, last).value();
    const std::string archive = segment.archive().value();
    executors.segments.push_back(
        make_executor(std::as_bytes(std::span(archive)), segment.output_count(), form).value());
    first = last + 1;
  }
  return executors;
}

LoadedSegments::LoadedSegments(const Model& model, std::size_t cut, Handover handover) : handover_(handover) {
  for (const auto& [first, last] : {std::pair(std::size_t{0}, cut), std::pair(cut + 1, model.layer_count() - 1)}) {
    const Segment segment = model.segment(first, last).value();
    segments_.emplace_back(reloaded(segment.module()), segment.output_count());
  }
}

Value LoadedSegments::run(const Model& model, const Values& inputs) {
  const torch::NoGradGuard no_gradients;
  Values values = copies_of(model.check_inputs(inputs).value());
  for (auto& [module, outputs] : segments_) {
    const c10::IValue result = call(module, handover_ == Handover::Wire ? over_the_wire(values) : values);
    values.clear();
    if (outputs == 1) {
      values.emplace_back(result);
    } else {
      for (const c10::IValue& element : result.toTupleRef().elements()) values.emplace_back(element);
    }
  }
  return values.front();
}

void check_all_cuts(const Model& model, const std::vector<Values>& inputs, Aliases aliases) {
  REQUIRE(inputs.size() >= 4);
  std::vector<Values> untouched;
  untouched.reserve(inputs.size());
  for (const Values& input : inputs) untouched.push_back(copies_of(input));
  const LayerGraph graph = model.layer_graph(inputs.front()).value();
  const Values answers = answers_of_unsplit(model, inputs);
  const bool optimizer_is_right = aliases == Aliases::Declared || TORCH_VERSION_MAJOR < 2;

  const auto reference = model.reference_executor().value();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    INFO("unsplit, call " << i);
    const Value answer = reference->run(model.check_inputs(inputs[i]).value()).value().front();
    const Difference exact = compare(answer, answers[i]);
    CHECK(exact.bit_equal);
    CHECK(exact.scale > 1e-3);
  }

  std::vector<std::size_t> valid;
  for (std::size_t cut = 0; cut < graph.cuts.size(); ++cut) {
    if (!graph.cuts[cut].valid) {
      CHECK(model.segment(0, cut).error().code == Errc::CutRejected);
      continue;
    }
    valid.push_back(cut);
    Executors plain = split_through_archives(model, {cut}, Form::Plain);
    Executors optimized = split_through_archives(model, {cut}, Form::Optimized);
    LoadedSegments loaded(model, cut, Handover::Wire);
    LoadedSegments direct(model, cut, Handover::Objects);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      INFO("cut after layer " << cut << ", " << graph.layers[cut].name << ", call " << i);
      CHECK(compare(plain.run(model, inputs[i]), answers[i]).bit_equal);
      CHECK(compare(optimized.run(model, inputs[i]), answers[i]).relative_error <= 1e-4);
      const Value by_loaded = loaded.run(model, inputs[i]);
      const Value by_direct = direct.run(model, inputs[i]);
      if (!optimizer_is_right) continue;
      CHECK(compare(by_loaded, answers[i]).relative_error <= 1e-4);
      CHECK(compare(by_direct, answers[i]).relative_error <= 1e-4);
    }
  }
  CHECK_FALSE(valid.empty());

  Executors finest = split_through_archives(model, valid, Form::Plain);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    INFO("every valid cut at once, call " << i);
    CHECK(compare(finest.run(model, inputs[i]), answers[i]).bit_equal);
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    for (std::size_t k = 0; k < inputs[i].size(); ++k) CHECK(compare(inputs[i][k], untouched[i][k]).bit_equal);
  }
}

std::size_t layer_of(const LayerGraph& graph, std::string_view op, std::size_t nth) {
  for (std::size_t layer = 0; layer < graph.layers.size(); ++layer) {
    if (graph.layers[layer].op == op && nth-- == 0) return layer;
  }
  FAIL("no such layer: " << op);
  return 0;
}

std::set<std::string> reasons(const LayerGraph& graph) {
  std::set<std::string> codes;
  for (const Cut& cut : graph.cuts) {
    if (!cut.valid) codes.insert(cut.reason.substr(0, cut.reason.find(':')));
  }
  return codes;
}

}  // namespace amp4ec::test
