// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "support/catch.hpp"

#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace amp4ec::test {

/// Reads Prometheus' text format 0.0.4 line by line and fails the test at the first fault: a line of no known form, a
/// series that appears twice or before its type, families that are not in one piece, counters not named "_total".
/// Returns the values by series, as they are written: `name{label="value"}`.
inline std::map<std::string, double> read_exposition(const std::string& text) {
  static const std::regex comment(R"(# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+))");
  static const std::regex sample(
      R"re(([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*")*\})? (\S+))re");
  REQUIRE(text.ends_with('\n'));
  std::map<std::string, double> values;
  std::map<std::string, std::string> types;
  std::set<std::string> helped;
  std::string family;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    INFO(line);
    std::smatch part;
    if (std::regex_match(line, part, comment)) {
      if (part[1] == "HELP") {
        REQUIRE(helped.insert(part[2]).second);
        family = part[2];
        continue;
      }
      REQUIRE(part[2] == family);
      const std::set<std::string> known{"counter", "gauge", "summary", "histogram", "untyped"};
      REQUIRE(known.contains(part[3]));
      REQUIRE(types.emplace(part[2], part[3]).second);
      if (part[3] == "counter") REQUIRE(family.ends_with("_total"));
      continue;
    }
    REQUIRE(std::regex_match(line, part, sample));
    REQUIRE(types.contains(family));
    const std::string& type = types.at(family);
    const bool is_compound = type == "summary" || type == "histogram";
    const std::string suffix = part[1].str().starts_with(family) ? part[1].str().substr(family.size()) : "none";
    REQUIRE((suffix.empty() || (is_compound && (suffix == "_sum" || suffix == "_count" || suffix == "_bucket"))));
    std::size_t read = 0;
    const std::string number = part[3];
    const double value = std::stod(number, &read);
    REQUIRE(read == number.size());
    REQUIRE(values.emplace(part[1].str() + part[2].str(), value).second);
  }
  return values;
}

}  // namespace amp4ec::test
