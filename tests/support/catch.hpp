// SPDX-License-Identifier: Apache-2.0
#pragma once
// Catch2 v2 (Debian 12) and v3 (everything later) behind one include.

#ifdef AMP4EC_TEST_LINKS_TORCH
// LibTorch's logging defines CHECK too, and would silently take Catch2's place in every file that includes it later.
#include <c10/util/Logging.h>
#undef CHECK
#endif

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
