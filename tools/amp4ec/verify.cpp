// SPDX-License-Identifier: Apache-2.0
#include "interrupt.hpp"
#include "output.hpp"
#include "progress.hpp"
#include "references.hpp"
#include "split_answer.hpp"
#include "subject.hpp"
#include "text.hpp"
#include "verb.hpp"

#include <amp4ec/model/compare.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace amp4ec::cli {
namespace {

namespace json = boost::json;

struct VerifyOptions {
  ModelOptions model;
  std::string cuts = "all";
  std::size_t calls = 4;
  std::string mode = "plain";
  std::string through = "memory";
};

/// A cut that answers otherwise than the whole model, or not at all.
struct Unequal {
  std::size_t after = 0;
  std::string reason;
};

struct Verdict {
  std::size_t tried = 0;
  std::size_t plain = 0;  ///< Executed in the plain form.
  std::vector<Unequal> unequal;
  double max_relative_error = 0;
  double seconds = 0;
};

/// Bit-equal when plain; when optimised, within this of the answer's scale.
constexpr double tolerance = 1e-4;

/// How many cuts to try; 0 for all. @error InvalidArgument.
Result<std::size_t> parse_cuts(const std::string& text) {
  if (text == "all") return std::size_t{0};
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size() && number > 0) return number;
  return Error{Errc::InvalidArgument, fmt::format("--cuts {}: write all, or a number from 1", text)};
}

/// The valid cuts, or so many of them spread evenly.
std::vector<std::size_t> choose_cuts(const LayerGraph& graph, std::size_t wanted) {
  std::vector<std::size_t> valid;
  for (std::size_t i = 0; i < graph.cuts.size(); ++i) {
    if (graph.cuts[i].valid) valid.push_back(i);
  }
  if (wanted == 0 || wanted >= valid.size()) return valid;
  std::vector<std::size_t> sample;
  for (std::size_t i = 0; i < wanted; ++i) sample.push_back(valid[(2 * i + 1) * valid.size() / (2 * wanted)]);
  return sample;
}

std::string describe(const Difference& difference) {
  if (std::isfinite(difference.relative_error)) return fmt::format("relative error {:.1e}", difference.relative_error);
  return "structure, type or shape of the answer differ, or the places of NaN";
}

/// Why a cut is not equal; empty when it is. @error anything but a segment that fails to run.
Result<std::string> try_cut(const Splitter& split, std::size_t after, const References& references, Form form,
                            Verdict& verdict) {
  const auto fault = [](const Error& error) -> Result<std::string> {
    if (error.code == Errc::ExecutionFailed) return error.message;
    return error;
  };
  const auto answer = split(after);
  if (!answer) return fault(answer.error());
  if (answer->form == Form::Plain) ++verdict.plain;
  for (std::size_t call = 0; call < references.inputs.size(); ++call) {
    const auto value = answer->run(references.inputs[call]);
    if (!value) return fault(value.error());
    const Difference difference = compare(*value, references.answers[call]);
    verdict.max_relative_error = std::max(verdict.max_relative_error, difference.relative_error);
    const bool equal = form == Form::Plain ? difference.bit_equal : difference.relative_error <= tolerance;
    if (!equal) return fmt::format("call {}: {}", call + 1, describe(difference));
  }
  return std::string();
}

Result<Verdict> try_cuts(const std::vector<std::size_t>& cuts, const Subject& subject, const VerifyOptions& options,
                         Form form, const Interrupt& interrupt) {
  const auto split = make_splitter(options.through, subject, form);
  if (!split) return split.error();
  const auto references = make_references(subject, options.calls);
  if (!references) return references.error();
  const auto start = std::chrono::steady_clock::now();
  Verdict verdict;
  Progress progress("verifying cuts");
  for (const std::size_t after : cuts) {
    if (interrupt) return Error{Errc::SessionClosed, "interrupted"};
    const auto reason = try_cut(*split, after, *references, form, verdict);
    if (!reason) return reason.error();
    if (!reason->empty()) verdict.unequal.push_back({after, *reason});
    progress.update(++verdict.tried, cuts.size());
  }
  verdict.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return verdict;
}

json::object verdict_json(const VerifyOptions& options, const LayerGraph& graph, const Verdict& verdict) {
  json::array rejected;
  for (std::size_t i = 0; i < graph.cuts.size(); ++i) {
    if (!graph.cuts[i].valid) rejected.push_back(json::object{{"after", i}, {"reason", graph.cuts[i].reason}});
  }
  json::array unequal;
  for (const Unequal& cut : verdict.unequal) {
    unequal.push_back(json::object{{"after", cut.after}, {"reason", cut.reason}});
  }
  return {{"model_hash", graph.model_hash},
          {"mode", options.mode},
          {"through", options.through},
          {"calls", options.calls},
          {"cuts_total", graph.cuts.size()},
          {"cuts_valid", verdict.tried},
          {"cuts_equal", verdict.tried - verdict.unequal.size()},
          {"cuts_plain", verdict.plain},
          {"rejected", std::move(rejected)},
          {"unequal", std::move(unequal)},
          {"max_relative_error", verdict.max_relative_error},
          {"seconds", verdict.seconds}};
}

std::string verdict_text(const VerifyOptions& options, const LayerGraph& graph, const Verdict& verdict) {
  const auto valid = static_cast<std::size_t>(std::ranges::count(graph.cuts, true, &Cut::valid));
  std::string text =
      fmt::format("cuts: {}, of which {} valid; {} tried with {} inputs each, {} equal\n", graph.cuts.size(), valid,
                  verdict.tried, options.calls, verdict.tried - verdict.unequal.size());
  text += fmt::format("{} segments through {}; largest relative error {:.1e}; {:.1f} s\n", options.mode,
                      options.through, verdict.max_relative_error, verdict.seconds);
  if (options.mode != to_string(Form::Plain) && verdict.plain > 0)
    text += fmt::format("  {} executed in the plain form: optimized, they answer otherwise\n", verdict.plain);
  std::map<std::string, std::size_t> reasons;
  for (const Cut& cut : graph.cuts) {
    if (!cut.valid) ++reasons[reason_code(cut.reason)];
  }
  for (const auto& [reason, count] : reasons) text += fmt::format("  rejected, {}: {}\n", reason, count);
  for (const Unequal& cut : verdict.unequal)
    text += fmt::format("  NOT equal, after layer {}: {}\n", cut.after, cut.reason);
  return text;
}

Result<Exit> run_verify(const VerifyOptions& options, const Interrupt& interrupt) {
  const auto wanted = parse_cuts(options.cuts);
  if (!wanted) return wanted.error();
  const auto form = parse_form(options.mode);
  if (!form) return form.error();
  const auto subject = load_subject(options.model);
  if (!subject) return subject.error();
  if (const auto layer = subject->random_layer()) {
    return Error{Errc::InvalidArgument,
                 fmt::format("the model draws random numbers ({}): its answers differ from call to call and cannot be "
                             "compared",
                             *layer)};
  }
  const auto verdict = try_cuts(choose_cuts(subject->graph, *wanted), *subject, options, *form, interrupt);
  if (!verdict) return verdict.error();
  const auto printed = options.model.json ? print_json(verdict_json(options, subject->graph, *verdict))
                                          : print(verdict_text(options, subject->graph, *verdict));
  if (!printed) return printed.error();
  return verdict->unequal.empty() ? Exit::success : Exit::no;
}

}  // namespace

void add_verify(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<VerifyOptions>();
  CLI::App* verb = app.add_subcommand("verify", "Compare the model, cut at each place in turn, with the whole model");
  add_model_options(*verb, options->model);
  add_input_options(*verb, options->model);
  verb->add_option("--cuts", options->cuts, "all, or how many of the valid cuts to try")->capture_default_str();
  verb->add_option("--calls", options->calls, "Different inputs for each cut")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  verb->add_option("--mode", options->mode, "plain (bit-equal) or optimized (within 1e-4)")->capture_default_str();
  verb->add_option("--through", options->through, "memory, file or process")->capture_default_str();
  verb->callback([options, &chosen] {
    chosen = [options](const Interrupt& interrupt) { return run_verify(*options, interrupt); };
  });
}

}  // namespace amp4ec::cli
