# Everything that p2pdvm needs, found or explained in one message, bundled as one target.
include(${CMAKE_CURRENT_LIST_DIR}/p2pdvmFindDependencies.cmake)
set(P2PDVM_WITH_OPENSSL AUTO CACHE STRING "Seal large records by OpenSSL 3's AES-GCM: AUTO, ON or OFF")
set_property(CACHE P2PDVM_WITH_OPENSSL PROPERTY STRINGS AUTO ON OFF)
p2pdvm_find_dependencies(FATAL_ERROR)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
find_program(P2PDVM_CCACHE ccache)
if(P2PDVM_CCACHE AND PROJECT_IS_TOP_LEVEL)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${P2PDVM_CCACHE})
endif()
