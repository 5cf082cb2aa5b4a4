// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/cgroup/cpu_list.hpp>

#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

using namespace amp4ec;
using namespace amp4ec::cgroup;

TEST_CASE("CPU lists are written as the kernel writes them") {
  CHECK(format_cpu_list({}).empty());
  CHECK(format_cpu_list({0}) == "0");
  CHECK(format_cpu_list({0, 1, 2, 5}) == "0-2,5");
  CHECK(format_cpu_list({7, 5, 6, 5, 1}) == "1,5-7");
  CHECK(format_cpu_list({0, 2, 4}) == "0,2,4");
}

TEST_CASE("CPU lists are read back, and malformed ones refused") {
  CHECK(parse_cpu_list("\n")->empty());
  CHECK(parse_cpu_list("")->empty());
  CHECK(*parse_cpu_list("0-2,5\n") == CpuList{0, 1, 2, 5});
  CHECK(*parse_cpu_list("5,0-1,1") == CpuList{0, 1, 5});
  CHECK(*parse_cpu_list("65535") == CpuList{65535});
  for (const auto* text :
       {"x", "1-", "-1", "2-1", "1,,2", "1,", ",1", "1-2-3", "1 2", "0-65536", "0-99999999999999", "1:2"}) {
    INFO(text);
    const auto cpus = parse_cpu_list(text);
    REQUIRE_FALSE(cpus);
    CHECK(cpus.error().code == Errc::CgroupFailed);
  }
}
