// SPDX-License-Identifier: Apache-2.0
#pragma once
// For clang-tidy alone, included before everything else: a std::vector that is not constexpr. Clang instantiates
// constexpr members too early for LibTorch 1.13, which declares vectors of types that are still incomplete.
#include <string>
#ifdef __GLIBCXX__
#pragma push_macro("_GLIBCXX20_CONSTEXPR")
#undef _GLIBCXX20_CONSTEXPR
#define _GLIBCXX20_CONSTEXPR
#define __fill_a1 fill_of_vector_bool  // declared constexpr elsewhere already
#include <vector>
#undef __fill_a1
#pragma pop_macro("_GLIBCXX20_CONSTEXPR")
#endif
