// SPDX-License-Identifier: Apache-2.0
#include "zoo/zoo.hpp"

#include "files.hpp"
#include "output.hpp"
#include "table.hpp"
#include "verb.hpp"

#include <amp4ec/core/units.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

namespace amp4ec::cli {
namespace {

namespace json = boost::json;

struct ZooOptions {
  std::string name;
  std::string file;
  std::uint64_t seed = 0;
  bool json = false;
};

json::array inputs_of(const ZooEntry& entry) {
  json::array inputs;
  for (const std::string& spec : entry.input_specs) inputs.emplace_back(spec);
  return inputs;
}

std::string inputs_text(const ZooEntry& entry) {
  std::string text;
  for (const std::string& spec : entry.input_specs) text += fmt::format("{}{}", text.empty() ? "" : " ", spec);
  return text;
}

Result<void> list_models(bool as_json) {
  json::array models;
  Table table({"name", "input", "what"});
  for (const ZooEntry& entry : zoo_entries()) {
    models.push_back(
        json::object{{"name", entry.name}, {"description", entry.description}, {"inputs", inputs_of(entry)}});
    table.add({entry.name, inputs_text(entry), entry.description});
  }
  return as_json ? print_json(json::object{{"models", std::move(models)}}) : print(table.text());
}

Result<void> write_model(const ZooOptions& options) {
  const auto& entries = zoo_entries();
  const auto entry = std::ranges::find(entries, options.name, &ZooEntry::name);
  if (entry != entries.end()) {  // a wrong name is for save_zoo_model to explain
    if (auto writable = check_output(options.file); !writable) return writable;
  }
  if (auto saved = save_zoo_model(options.name, options.seed, options.file); !saved) return saved;
  std::error_code ignored;
  const auto bytes = std::filesystem::file_size(options.file, ignored);
  if (options.json) {
    return print_json(json::object{{"name", options.name},
                                   {"file", options.file},
                                   {"seed", options.seed},
                                   {"bytes", bytes},
                                   {"inputs", inputs_of(*entry)}});
  }
  return print(fmt::format("{}: {} with seed {}, {}; it takes --input {}\n", options.file, options.name, options.seed,
                           format_bytes(Bytes{bytes}), inputs_text(*entry)));
}

Result<Exit> run_zoo(const ZooOptions& options) {
  if (options.name.empty() != options.file.empty()) {
    return Error{Errc::InvalidArgument, options.name.empty()
                                            ? "-o says where to, but which model? 'amp4ec zoo' lists them"
                                            : "where to? add -o FILE, e.g. -o " + options.name + ".pt"};
  }
  const auto done = options.name.empty() ? list_models(options.json) : write_model(options);
  if (!done) return done.error();
  return Exit::success;
}

}  // namespace

void add_zoo(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<ZooOptions>();
  CLI::App* verb = app.add_subcommand("zoo", "List the reference models, or write one as TorchScript");
  verb->add_option("NAME", options->name, "The model to write; without it, the list");
  verb->add_option("-o", options->file, "Where to write it");
  verb->add_option("--seed", options->seed, "Seed of the weights")->capture_default_str();
  verb->add_flag("--json", options->json, "Print one JSON object and nothing else");
  verb->callback([options, &chosen] { chosen = [options](const Interrupt&) { return run_zoo(*options); }; });
}

}  // namespace amp4ec::cli
