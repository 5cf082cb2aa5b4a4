// SPDX-License-Identifier: Apache-2.0
#include "split_answer.hpp"

#include "files.hpp"

#include <amp4ec/model/compare.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <fmt/format.h>

#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace amp4ec::cli {
namespace {

namespace fs = std::filesystem;

using MakeExecutor = std::function<Result<std::unique_ptr<SegmentExecutor>>(const Segment&, Form)>;

/// Splits a model into prefix and suffix, each run by an executor that `make` makes.
class Pair {
 public:
  /// expected: the unsplit model's answer to the example.
  Pair(const Subject& subject, Values example, Value expected, MakeExecutor make)
      : subject_(subject), example_(std::move(example)), expected_(std::move(expected)), make_(std::move(make)) {}

  Result<SplitAnswer> split(std::size_t after, Form form) const {
    const auto prefix = subject_.model.segment(0, after);
    if (!prefix) return prefix.error();
    const auto suffix = subject_.model.segment(after + 1, subject_.model.layer_count() - 1);
    if (!suffix) return suffix.error();
    auto answer = executed(*prefix, *suffix, form);
    if (!answer || form == Form::Plain) return answer;
    if (!answers_example(*answer)) return executed(*prefix, *suffix, Form::Plain);
    return subject_.model.has_state() ? executed(*prefix, *suffix, form) : answer;  // With fresh state.
  }

 private:
  Result<SplitAnswer> executed(const Segment& prefix, const Segment& suffix, Form form) const {
    auto first = make_(prefix, form);
    if (!first) return first.error();
    auto second = make_(suffix, form);
    if (!second) return second.error();
    std::shared_ptr<SegmentExecutor> front(std::move(*first));
    std::shared_ptr<SegmentExecutor> back(std::move(*second));
    return SplitAnswer{[front, back](const Values& inputs) -> Result<Value> {
                         const auto crossing = front->run(inputs);
                         if (!crossing) return crossing.error();
                         auto answer = back->run(*crossing);
                         if (!answer) return answer.error();
                         return std::move(answer->front());
                       },
                       form};
  }

  bool answers_example(const SplitAnswer& answer) const {
    const auto value = answer.run(example_);
    return value && compare(*value, expected_).relative_error <= SessionOptions{}.optimized_tolerance();
  }

  const Subject& subject_;
  Values example_;
  Value expected_;
  MakeExecutor make_;
};

Result<Splitter> pair_splitter(const Subject& subject, Form form, MakeExecutor make) {
  const auto example = subject.model.check_inputs(subject.inputs.example());
  if (!example) return example.error();
  auto reference = subject.model.reference_executor();
  if (!reference) return reference.error();
  const auto expected = (*reference)->run(*example);
  if (!expected) return expected.error();
  return Splitter([pair = Pair(subject, *example, expected->front().clone(), std::move(make)),
                   form](std::size_t after) { return pair.split(after, form); });
}

/// A folder of our own that goes away with its owner.
class TemporaryFolder {
 public:
  static Result<std::shared_ptr<TemporaryFolder>> make() {
    std::error_code failed;
    std::string name = (fs::temp_directory_path(failed) / "amp4ec-verify-XXXXXX").string();
    if (failed || ::mkdtemp(name.data()) == nullptr) {
      const std::string why = failed ? failed.message() : std::generic_category().message(errno);
      return Error{Errc::SystemCall, fmt::format("cannot make a temporary folder: {}; set TMPDIR", why)};
    }
    return std::shared_ptr<TemporaryFolder>(new TemporaryFolder(name));
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const fs::path& path() const noexcept { return path_; }

 private:
  explicit TemporaryFolder(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

Result<std::unique_ptr<SegmentExecutor>> load_saved(const Segment& segment, const fs::path& file, Form form) {
  if (const auto saved = segment.save(file); !saved) return saved.error();
  const auto archive = read_file(file);
  if (!archive) return archive.error();
  return make_executor(std::as_bytes(std::span(*archive)), segment.output_count(), form);
}

Result<Splitter> split_through_files(const Subject& subject, Form form) {
  auto folder = TemporaryFolder::make();
  if (!folder) return folder.error();
  return pair_splitter(subject, form, [temporary = *folder](const Segment& segment, Form wanted) {
    return load_saved(segment, temporary->path() / (segment.first_layer() == 0 ? "prefix.pt" : "suffix.pt"), wanted);
  });
}

Stage make_stage(const char* node, std::size_t first_layer, std::size_t last_layer) {
  Stage stage;
  stage.node = node;
  stage.first_layer = first_layer;
  stage.last_layer = last_layer;
  return stage;
}

Result<Splitter> split_through_processes(const Subject& subject, Form form) {
  const Cpus one_thread{1.99};  // as many as this process computes with, and no quota that slows it down
  auto created = Runtime::create({{"prefix", one_thread, {}}, {"suffix", one_thread, {}}});
  if (!created) return created.error();
  auto runtime = std::make_shared<Runtime>(std::move(*created));
  return Splitter([&subject, form, runtime](std::size_t after) -> Result<SplitAnswer> {
    const std::size_t last = subject.model.layer_count() - 1;
    Plan plan;
    plan.model_hash = subject.model.hash();
    plan.pipelines.push_back({{make_stage("prefix", 0, after), make_stage("suffix", after + 1, last)}});
    SessionOptions options;
    options.form = form;
    auto opened = runtime->open(subject.model, plan, subject.inputs.example(), options);
    if (!opened) return opened.error();
    auto session = std::make_shared<Session>(std::move(*opened));
    return SplitAnswer{[session](const Values& inputs) { return session->infer(inputs); }, session->form()};
  });
}

}  // namespace

Result<Splitter> make_splitter(std::string_view through, const Subject& subject, Form form) {
  if (through == "memory") {
    return pair_splitter(subject, form,
                         [](const Segment& segment, Form wanted) { return make_executor(segment, wanted); });
  }
  if (through == "file") return split_through_files(subject, form);
  if (through == "process") return split_through_processes(subject, form);
  return Error{Errc::InvalidArgument, fmt::format("--through {}: use memory, file or process", through)};
}

}  // namespace amp4ec::cli
