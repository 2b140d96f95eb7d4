# Installs headers, the library and a package that find_package(p2pdvm) understands.
include(CMakePackageConfigHelpers)
set(p2pdvm_package ${CMAKE_INSTALL_LIBDIR}/cmake/p2pdvm)

install(TARGETS p2pdvm p2pdvm_header_only EXPORT p2pdvmTargets)
install(DIRECTORY include/p2pdvm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN *.hpp PATTERN *.ipp)
install(EXPORT p2pdvmTargets NAMESPACE p2pdvm:: DESTINATION ${p2pdvm_package})

configure_package_config_file(cmake/p2pdvmConfig.cmake.in p2pdvmConfig.cmake
  INSTALL_DESTINATION ${p2pdvm_package})
# Before 1.0 a new minor version may break its users.
write_basic_package_version_file(p2pdvmConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES cmake/p2pdvmFindDependencies.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/p2pdvmConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/p2pdvmConfigVersion.cmake
  DESTINATION ${p2pdvm_package})
