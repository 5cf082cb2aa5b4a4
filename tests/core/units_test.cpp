// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include <amp4ec/core/units.hpp>

using namespace amp4ec;

TEST_CASE("sizes are read with IEC and SI suffixes") {
  CHECK(parse_bytes("512MiB").value() == 512_MiB);
  CHECK(parse_bytes("1.5GiB").value() == 1536_MiB);
  CHECK(parse_bytes("64kB").value() == 64000_B);
  CHECK(parse_bytes("4096").value() == 4_KiB);
  CHECK(parse_bytes("7B").value() == 7_B);
  CHECK(parse_bytes("0").value() == 0_B);
}

TEST_CASE("what is not a size is refused with an example of one") {
  for (const char* text : {"", "MiB", "-1MiB", "1e30GiB", "nan", "inf", "12 MiB", "12MiBs", "0x10", "1GiB "}) {
    INFO(text);
    const auto bytes = parse_bytes(text);
    REQUIRE(bytes.has_error());
    CHECK(bytes.error().code == Errc::InvalidArgument);
    CHECK(bytes.error().message.find("512MiB") != std::string::npos);
  }
}

TEST_CASE("sizes are shown in the largest unit that fits") {
  CHECK(format_bytes(0_B) == "0 B");
  CHECK(format_bytes(1023_B) == "1023 B");
  CHECK(format_bytes(1536_KiB) == "1.5 MiB");
  CHECK(format_bytes(2048_GiB) == "2.0 TiB");
}
