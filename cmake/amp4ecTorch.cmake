# SPDX-License-Identifier: Apache-2.0
# Defines amp4ec::torch, an interface over LibTorch. ${TORCH_LIBRARIES} is never exported: it holds absolute paths
# of the machine that built the package, so each consumer finds its own LibTorch through this file.
if(TARGET amp4ec::torch)
  return()
endif()
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL ON)
find_dependency(Torch)
unset(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL)

# Imported, so that exporting a target that links it does not export it as well.
add_library(amp4ec::torch INTERFACE IMPORTED GLOBAL)
target_include_directories(amp4ec::torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(amp4ec::torch INTERFACE ${TORCH_LIBRARIES})
separate_arguments(_amp4ec_torch_flags UNIX_COMMAND "${TORCH_CXX_FLAGS}")
target_compile_options(amp4ec::torch INTERFACE ${_amp4ec_torch_flags})
unset(_amp4ec_torch_flags)
