# Builds and runs consumer/ against p2pdvm. Called by CTest with the variables of CMakeLists.txt.
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE output
    ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "failed (${status}): ${command}\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
if(WAY STREQUAL find_package)
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/first)
  # A package must survive being moved.
  file(RENAME ${WORK}/first ${WORK}/prefix)
  set(from -D "CMAKE_PREFIX_PATH=${WORK}/prefix")
else()
  # With the very flags of this build, so that a compiler cache has what is compiled again.
  set(from -D "P2PDVM_SOURCE=${SOURCE}" -D P2PDVM_WARNINGS_AS_ERRORS=${WARNINGS_AS_ERRORS})
endif()
run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR}/consumer -B ${WORK}/build -G ${GENERATOR}
  -D CMAKE_CXX_COMPILER=${COMPILER} -D "CMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER}"
  -D CMAKE_BUILD_TYPE=${BUILD_TYPE} -D "CMAKE_CXX_FLAGS_DEBUG=${FLAGS}" ${from})
run(${CMAKE_COMMAND} --build ${WORK}/build)
run(${CMAKE_CTEST_COMMAND} --test-dir ${WORK}/build --output-on-failure --no-tests=error)
