# SPDX-License-Identifier: Apache-2.0
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/amp4ec")
install(DIRECTORY include/amp4ec DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")
install(TARGETS amp4ec_core amp4ec EXPORT amp4ecTargets)
install(TARGETS amp4ec-worker DESTINATION "${CMAKE_INSTALL_LIBEXECDIR}/amp4ec")
if(TARGET amp4ec-cli)
  install(TARGETS amp4ec-cli)
endif()
set(AMP4EC_WITH_LIBCGROUP_BUILT OFF)
if(TARGET amp4ec::libcgroup)
  set(AMP4EC_WITH_LIBCGROUP_BUILT ON)
endif()
set(AMP4EC_WITH_PROMETHEUS_BUILT OFF)
if(TARGET amp4ec::prometheus)
  set(AMP4EC_WITH_PROMETHEUS_BUILT ON)
endif()
install(EXPORT amp4ecTargets NAMESPACE amp4ec:: DESTINATION "${package_dir}")
configure_package_config_file(cmake/amp4ecConfig.cmake.in "${PROJECT_BINARY_DIR}/amp4ecConfig.cmake"
  INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/amp4ecConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/amp4ecConfig.cmake" "${PROJECT_BINARY_DIR}/amp4ecConfigVersion.cmake"
              cmake/amp4ecDependencies.cmake cmake/amp4ecTorch.cmake DESTINATION "${package_dir}")
