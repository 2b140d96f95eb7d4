#include "call.hpp"

#include <fmt/core.h>

#include <array>
#include <cstring>
#include <map>
#include <new>
#include <system_error>

namespace p2pdvm::c_mpi {

namespace {

struct class_text {
  int number;
  const char* name;
  const char* text;
};
#define P2PDVM_CLASS(name, text) class_text{name, #name, text}
constexpr std::array texts{
    P2PDVM_CLASS(MPI_SUCCESS, "no error"),
    P2PDVM_CLASS(MPI_ERR_BUFFER, "the address is not valid"),
    P2PDVM_CLASS(MPI_ERR_COUNT, "the count is not valid"),
    P2PDVM_CLASS(MPI_ERR_TYPE, "the datatype is not valid"),
    P2PDVM_CLASS(MPI_ERR_TAG, "the tag is not valid"),
    P2PDVM_CLASS(MPI_ERR_COMM, "the communicator is not valid"),
    P2PDVM_CLASS(MPI_ERR_RANK, "the rank is not valid"),
    P2PDVM_CLASS(MPI_ERR_REQUEST, "the request is not valid"),
    P2PDVM_CLASS(MPI_ERR_ROOT, "the root is not valid"),
    P2PDVM_CLASS(MPI_ERR_GROUP, "the group is not valid"),
    P2PDVM_CLASS(MPI_ERR_OP, "the operation is not valid"),
    P2PDVM_CLASS(MPI_ERR_TOPOLOGY, "the communicator has no such topology"),
    P2PDVM_CLASS(MPI_ERR_DIMS, "the dimensions are not valid"),
    P2PDVM_CLASS(MPI_ERR_ARG, "an argument is not valid"),
    P2PDVM_CLASS(MPI_ERR_UNKNOWN, "an error that is not known"),
    P2PDVM_CLASS(MPI_ERR_TRUNCATE, "the message is longer than the receive"),
    P2PDVM_CLASS(MPI_ERR_OTHER, "another error"),
    P2PDVM_CLASS(MPI_ERR_INTERN, "an error of the library"),
    P2PDVM_CLASS(MPI_ERR_PENDING, "the request is not complete"),
    P2PDVM_CLASS(MPI_ERR_IN_STATUS, "the statuses have the errors"),
    P2PDVM_CLASS(MPI_ERR_ACCESS, "permission denied"),
    P2PDVM_CLASS(MPI_ERR_AMODE, "the mode of access is not valid"),
    P2PDVM_CLASS(MPI_ERR_ASSERT, "the assertion is not valid"),
    P2PDVM_CLASS(MPI_ERR_BAD_FILE, "the name of the file is not valid"),
    P2PDVM_CLASS(MPI_ERR_BASE, "the base is not valid"),
    P2PDVM_CLASS(MPI_ERR_CONVERSION, "the data cannot be converted"),
    P2PDVM_CLASS(MPI_ERR_DISP, "the displacement is not valid"),
    P2PDVM_CLASS(MPI_ERR_DUP_DATAREP, "there is a data representation of that name"),
    P2PDVM_CLASS(MPI_ERR_FILE_EXISTS, "the file exists"),
    P2PDVM_CLASS(MPI_ERR_FILE_IN_USE, "the file is in use"),
    P2PDVM_CLASS(MPI_ERR_FILE, "the file handle is not valid"),
    P2PDVM_CLASS(MPI_ERR_INFO_KEY, "the key is not valid"),
    P2PDVM_CLASS(MPI_ERR_INFO_NOKEY, "there is no such key"),
    P2PDVM_CLASS(MPI_ERR_INFO_VALUE, "the value is not valid"),
    P2PDVM_CLASS(MPI_ERR_INFO, "the info is not valid"),
    P2PDVM_CLASS(MPI_ERR_IO, "reading or writing failed"),
    P2PDVM_CLASS(MPI_ERR_KEYVAL, "the key of attributes is not valid"),
    P2PDVM_CLASS(MPI_ERR_LOCKTYPE, "the kind of lock is not valid"),
    P2PDVM_CLASS(MPI_ERR_NAME, "there is no service of that name"),
    P2PDVM_CLASS(MPI_ERR_NO_MEM, "there is no memory left"),
    P2PDVM_CLASS(MPI_ERR_NOT_SAME, "an argument differs between ranks"),
    P2PDVM_CLASS(MPI_ERR_NO_SPACE, "there is no space left"),
    P2PDVM_CLASS(MPI_ERR_NO_SUCH_FILE, "there is no such file"),
    P2PDVM_CLASS(MPI_ERR_PORT, "the port is not valid"),
    P2PDVM_CLASS(MPI_ERR_QUOTA, "the quota is used up"),
    P2PDVM_CLASS(MPI_ERR_READ_ONLY, "it may only be read"),
    P2PDVM_CLASS(MPI_ERR_RMA_ATTACH, "the memory cannot be attached"),
    P2PDVM_CLASS(MPI_ERR_RMA_CONFLICT, "accesses to the window conflict"),
    P2PDVM_CLASS(MPI_ERR_RMA_RANGE, "the target is outside of the window"),
    P2PDVM_CLASS(MPI_ERR_RMA_SHARED, "the memory cannot be shared"),
    P2PDVM_CLASS(MPI_ERR_RMA_SYNC, "the synchronisation is not valid"),
    P2PDVM_CLASS(MPI_ERR_SERVICE, "the service is not valid"),
    P2PDVM_CLASS(MPI_ERR_SIZE, "the size is not valid"),
    P2PDVM_CLASS(MPI_ERR_SPAWN, "no process could be started"),
    P2PDVM_CLASS(MPI_ERR_UNSUPPORTED_DATAREP, "the data representation is not supported"),
    P2PDVM_CLASS(MPI_ERR_UNSUPPORTED_OPERATION, "the operation is not supported"),
    P2PDVM_CLASS(MPI_ERR_WIN, "the window is not valid"),
    P2PDVM_CLASS(MPI_ERR_RMA_FLAVOR, "the window was made in another way"),
    P2PDVM_CLASS(MPI_ERR_PROC_ABORTED, "a process of the job is gone"),
    P2PDVM_CLASS(MPI_ERR_VALUE_TOO_LARGE, "the value does not fit"),
    P2PDVM_CLASS(MPI_ERR_SESSION, "the session is not valid"),
    P2PDVM_CLASS(MPI_ERR_ERRHANDLER, "the error handler is not valid"),
    P2PDVM_CLASS(MPI_ERR_ABI, "the library has another binary interface"),
};
#undef P2PDVM_CLASS

/// Classes, codes and strings that the program has added. Numbers go up from `MPI_ERR_LASTCODE`.
struct added {
  struct entry {
    int of_class;
    std::string text;
  };
  std::map<int, entry> codes;
  int last = MPI_ERR_LASTCODE;
  int add(int of_class) {
    ++last;
    codes[last] = {of_class == 0 ? last : of_class, {}};
    return last;
  }
};
added& all_added() {
  static added* const all = new added;
  return *all;
}

int code_of(const std::error_code& code) {
  if (code.category() != error_category()) return MPI_ERR_OTHER;
  switch (static_cast<errc>(code.value())) {
    case errc::too_large: return MPI_ERR_TRUNCATE;
    case errc::cancelled:
    case errc::lost:
    case errc::no_majority: return MPI_ERR_PROC_ABORTED;
    default: return MPI_ERR_OTHER;
  }
}

failure thrown() {
  try {
    throw;
  } catch (const failure& f) {
    return f;
  } catch (const std::bad_alloc&) {
    return {MPI_ERR_NO_MEM, "there is no memory left"};
  } catch (const std::system_error& e) {
    const int code = code_of(e.code());
    if (code == MPI_ERR_PROC_ABORTED && here().running()) {
      try {
        here().check();
      } catch (const failure& over) {
        return over;
      }
    }
    return {code, e.what()};
  } catch (const std::exception& e) {
    return {MPI_ERR_INTERN, e.what()};
  }
}

error_handler& world_handler() { return *communicator_of(MPI_COMM_WORLD).errors; }

[[noreturn]] void end_with(const char* call, const failure& f) {
  here().abort(error_class(f.code) <= 0x7f ? error_class(f.code) : 1,
               here().begun() ? fmt::format("rank {}: {} failed: {} ({})", here().world_rank(), call, f.why, error_text(f.code))
                              : fmt::format("{} failed: {}", call, f.why));
}

}  // namespace

std::string error_text(int code) {
  const auto mine = all_added().codes.find(code);
  if (mine != all_added().codes.end()) return mine->second.text;
  for (const class_text& t : texts) {
    if (t.number == code) return std::string(t.name) + ": " + t.text;
  }
  fail(MPI_ERR_ARG, fmt::format("there is no error code {}", code));
}

int error_class(int code) {
  const auto mine = all_added().codes.find(code);
  if (mine != all_added().codes.end()) return mine->second.of_class;
  return code;
}

int raise(communicator* on, const char* call) {
  const failure f = thrown();
  if (!here().running()) end_with(call, f);
  error_handler& handler = on != nullptr && on->errors ? *on->errors : world_handler();
  if (handler.returns()) return f.code;
  if (handler.function() == nullptr) end_with(call, f);
  MPI_Comm handle = on != nullptr ? handle_of(*on) : MPI_COMM_WORLD;
  int code = f.code;
  handler.function()(&handle, &code);
  return f.code;
}

ref<error_handler> error_handler_of(MPI_Errhandler handle) {
  if (handle == MPI_ERRORS_ARE_FATAL || handle == MPI_ERRORS_ABORT || handle == MPI_ERRORS_RETURN)
    return ref<error_handler>::adopt(new error_handler(handle));
  if (is_predefined(handle)) fail(MPI_ERR_ERRHANDLER, "it is no error handler");
  return ref<error_handler>(*reinterpret_cast<error_handler*>(handle));
}

namespace {

/// Codes that the program may change.
added::entry& added_code(int code) {
  const auto found = all_added().codes.find(code);
  require(found != all_added().codes.end(), MPI_ERR_ARG, "the program has not added that code");
  return found->second;
}

}  // namespace

P2PDVM_FUNCTION(Comm_create_errhandler)(MPI_Comm_errhandler_function* function, MPI_Errhandler* errhandler) {
  return call_any_time("MPI_Comm_create_errhandler", [&] {
    require(function != nullptr && errhandler != nullptr, MPI_ERR_ARG, "an address is null");
    *errhandler = reinterpret_cast<MPI_Errhandler>(new error_handler(function));
  });
}

P2PDVM_FUNCTION(Comm_set_errhandler)(MPI_Comm comm, MPI_Errhandler errhandler) {
  return call_on(comm, "MPI_Comm_set_errhandler", [&](communicator& c) { c.errors = error_handler_of(errhandler); });
}

P2PDVM_FUNCTION(Comm_get_errhandler)(MPI_Comm comm, MPI_Errhandler* errhandler) {
  return call_on(comm, "MPI_Comm_get_errhandler", [&](communicator& c) {
    *errhandler = c.errors->handle();
    if (c.errors->function() != nullptr) c.errors->retain();
  });
}

P2PDVM_FUNCTION(Errhandler_free)(MPI_Errhandler* errhandler) {
  return call_any_time("MPI_Errhandler_free", [&] {
    require(errhandler != nullptr && *errhandler != MPI_ERRHANDLER_NULL, MPI_ERR_ARG, "it is no error handler");
    if (!is_predefined(*errhandler)) reinterpret_cast<error_handler*>(*errhandler)->release();
    *errhandler = MPI_ERRHANDLER_NULL;
  });
}

P2PDVM_FUNCTION(Comm_call_errhandler)(MPI_Comm comm, int errorcode) {
  return call_on(comm, "MPI_Comm_call_errhandler", [&](communicator& c) {
    if (c.errors->returns()) return;
    MPI_Comm handle = comm;
    if (c.errors->function() != nullptr) return static_cast<void>(c.errors->function()(&handle, &errorcode));
    fail(errorcode, "the program says so");
  });
}

P2PDVM_FUNCTION(Error_class)(int errorcode, int* errorclass) {
  return call_any_time("MPI_Error_class", [&] { *errorclass = error_class(errorcode); });
}

P2PDVM_FUNCTION(Error_string)(int errorcode, char* string, int* resultlen) {
  return call_any_time("MPI_Error_string", [&] {
    const std::string text = error_text(errorcode).substr(0, MPI_MAX_ERROR_STRING - 1);
    std::memcpy(string, text.c_str(), text.size() + 1);
    *resultlen = static_cast<int>(text.size());
  });
}

P2PDVM_FUNCTION(Add_error_class)(int* errorclass) {
  return call_any_time("MPI_Add_error_class", [&] { *errorclass = all_added().add(0); });
}

P2PDVM_FUNCTION(Add_error_code)(int errorclass, int* errorcode) {
  return call_any_time("MPI_Add_error_code", [&] { *errorcode = all_added().add(errorclass); });
}

P2PDVM_FUNCTION(Add_error_string)(int errorcode, const char* string) {
  return call_any_time("MPI_Add_error_string", [&] { added_code(errorcode).text = string; });
}

P2PDVM_FUNCTION(Remove_error_class)(int errorclass) {
  return call_any_time("MPI_Remove_error_class", [&] {
    require(added_code(errorclass).of_class == errorclass, MPI_ERR_ARG, "it is a code and no class");
    for (const auto& [number, entry] : all_added().codes)
      require(number == errorclass || entry.of_class != errorclass, MPI_ERR_ARG, "the class still has codes");
    all_added().codes.erase(errorclass);
  });
}

P2PDVM_FUNCTION(Remove_error_code)(int errorcode) {
  return call_any_time("MPI_Remove_error_code", [&] {
    (void)added_code(errorcode);
    all_added().codes.erase(errorcode);
  });
}

P2PDVM_FUNCTION(Remove_error_string)(int errorcode) {
  return call_any_time("MPI_Remove_error_string", [&] { added_code(errorcode).text.clear(); });
}

/// The value of MPI_LASTUSEDCODE.
int last_error_code() noexcept { return all_added().last; }

}  // namespace p2pdvm::c_mpi
