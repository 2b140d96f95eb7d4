/// Waiting for requests, asking about them, and their statuses.
#include "call.hpp"
#include "datatype.hpp"
#include "request.hpp"

#include <algorithm>
#include <climits>

namespace p2pdvm::c_mpi {

request& request_of(MPI_Request handle) {
  if (handle == MPI_REQUEST_NULL) fail(MPI_ERR_REQUEST, "the request is MPI_REQUEST_NULL");
  if (is_predefined(handle)) fail(MPI_ERR_REQUEST, "it is no request");
  return *reinterpret_cast<request*>(handle);
}

namespace {

/// Freed by the program before they were complete.
std::vector<ref<request>>& abandoned() {
  static std::vector<ref<request>>* const all = new std::vector<ref<request>>;
  return *all;
}
/// What came is given to the program, though it does not ask any more.
bool delivered(request& r) {
  if (!r.complete()) return false;
  r.deliver();
  return true;
}
void forget_complete() {
  std::erase_if(abandoned(), [](const ref<request>& r) { return delivered(*r); });
}

bool waits(MPI_Request handle) { return handle != MPI_REQUEST_NULL && request_of(handle).active(); }

/// Ends it, and what the handle is afterwards is up to what it was.
void finish(MPI_Request* handle, MPI_Status* status) {
  request& r = request_of(*handle);
  const ref<request> kept(r);
  if (!r.persistent()) {
    *handle = MPI_REQUEST_NULL;
    r.release();
  }
  r.finish(status);
}

/// The same of one of several: its error goes into the status.
int finish_one(MPI_Request* handle, MPI_Status* status) {
  MPI_Status unused;
  MPI_Status* const into = status == MPI_STATUS_IGNORE ? &unused : status;
  int code = MPI_SUCCESS;
  try {
    finish(handle, into);
  } catch (const failure& f) {
    code = f.code;
  }
  into->MPI_ERROR = code;
  return code;
}

template <class F>
int call_on_request(MPI_Request handle, const char* name, F&& body) {
  check_running(name);
  ref<communicator> on;
  try {
    if (handle != MPI_REQUEST_NULL && !is_predefined(handle)) {
      if (communicator* const over = request_of(handle).over()) on = ref<communicator>(*over);
    }
    body();
    return MPI_SUCCESS;
  } catch (...) {
    return raise(on.get(), name);
  }
}

MPI_Request first_of(int count, const MPI_Request* requests) {
  for (int i = 0; i < count; ++i) {
    if (requests[i] != MPI_REQUEST_NULL) return requests[i];
  }
  return MPI_REQUEST_NULL;
}

void check_requests(int count, const MPI_Request* requests) {
  require(count >= 0, MPI_ERR_COUNT, "the count is negative");
  require(count == 0 || requests != nullptr, MPI_ERR_ARG, "an address is null");
}

/// Whether all are; looks on from where it stopped.
class all_complete {
 public:
  all_complete(int count, MPI_Request* requests) : count_(count), requests_(requests) {}
  bool operator()() {
    for (; next_ < count_; ++next_) {
      if (waits(requests_[next_]) && !request_of(requests_[next_]).complete()) return false;
    }
    return true;
  }

 private:
  int count_;
  MPI_Request* requests_;
  int next_ = 0;
};

void finish_all(int count, MPI_Request* requests, MPI_Status* statuses) {
  bool failed = false;
  for (int i = 0; i < count; ++i) {
    MPI_Status* const status = statuses == MPI_STATUSES_IGNORE ? MPI_STATUS_IGNORE : &statuses[i];
    if (!waits(requests[i])) {
      set_empty(status);
      continue;
    }
    failed = finish_one(&requests[i], status) != MPI_SUCCESS || failed;
  }
  if (failed) fail(MPI_ERR_IN_STATUS, "one of the requests has failed");
}

/// The first complete one from `after` on, −1: none is, MPI_UNDEFINED: nothing waits.
int find_complete(int count, MPI_Request* requests) {
  bool any = false;
  for (int i = 0; i < count; ++i) {
    if (!waits(requests[i])) continue;
    any = true;
    if (request_of(requests[i]).complete()) return i;
  }
  return any ? -1 : MPI_UNDEFINED;
}

/// One look, if none of them is complete without it.
template <class Done>
bool done_or_look(Done done) {
  if (done()) {
    here().found();
    return true;
  }
  here().look();
  if (done()) return true;
  here().found_nothing();
  return false;
}

void finish_any(int index, MPI_Request* requests, MPI_Status* status) {
  if (index == MPI_UNDEFINED) return set_empty(status);
  finish(&requests[index], status);
}

void finish_some(int count, MPI_Request* requests, int* outcount, int* indices, MPI_Status* statuses) {
  int found = 0;
  bool failed = false;
  for (int i = 0; i < count; ++i) {
    if (!waits(requests[i]) || !request_of(requests[i]).complete()) continue;
    indices[found] = i;
    MPI_Status* const status = statuses == MPI_STATUSES_IGNORE ? MPI_STATUS_IGNORE : &statuses[found];
    ++found;
    failed = finish_one(&requests[i], status) != MPI_SUCCESS || failed;
  }
  *outcount = found;
  if (failed) fail(MPI_ERR_IN_STATUS, "one of the requests has failed");
}

}  // namespace

void wait_for_abandoned() {
  here().wait([] {
    return std::all_of(abandoned().begin(), abandoned().end(), [](const ref<request>& r) { return r->complete(); });
  });
  forget_complete();
}

P2PDVM_FUNCTION(Wait)(MPI_Request* handle, MPI_Status* status) {
  return call_on_request(*handle, "MPI_Wait", [&] {
    if (!waits(*handle)) return set_empty(status);
    request& r = request_of(*handle);
    here().wait([&r] { return r.complete(); });
    finish(handle, status);
  });
}

P2PDVM_FUNCTION(Test)(MPI_Request* handle, int* flag, MPI_Status* status) {
  return call_on_request(*handle, "MPI_Test", [&] {
    *flag = 1;
    if (!waits(*handle)) return set_empty(status);
    request& r = request_of(*handle);
    *flag = done_or_look([&r] { return r.complete(); }) ? 1 : 0;
    if (*flag != 0) finish(handle, status);
  });
}

P2PDVM_FUNCTION(Waitall)(int count, MPI_Request requests[], MPI_Status* statuses) {
  return call_on_request(first_of(count, requests), "MPI_Waitall", [&] {
    check_requests(count, requests);
    all_complete all(count, requests);
    here().wait([&all] { return all(); });
    finish_all(count, requests, statuses);
  });
}

P2PDVM_FUNCTION(Testall)(int count, MPI_Request requests[], int* flag, MPI_Status* statuses) {
  return call_on_request(first_of(count, requests), "MPI_Testall", [&] {
    check_requests(count, requests);
    all_complete all(count, requests);
    *flag = done_or_look([&all] { return all(); }) ? 1 : 0;
    if (*flag != 0) finish_all(count, requests, statuses);
  });
}

P2PDVM_FUNCTION(Waitany)(int count, MPI_Request requests[], int* index, MPI_Status* status) {
  return call_on_request(first_of(count, requests), "MPI_Waitany", [&] {
    check_requests(count, requests);
    int found = -1;
    here().wait([&] { return (found = find_complete(count, requests)) != -1; });
    *index = found;
    finish_any(found, requests, status);
  });
}

P2PDVM_FUNCTION(Testany)(int count, MPI_Request requests[], int* index, int* flag, MPI_Status* status) {
  return call_on_request(first_of(count, requests), "MPI_Testany", [&] {
    check_requests(count, requests);
    int found = -1;
    *flag = done_or_look([&] { return (found = find_complete(count, requests)) != -1; }) ? 1 : 0;
    *index = MPI_UNDEFINED;
    if (*flag == 0) return;
    *index = found;
    finish_any(found, requests, status);
  });
}

P2PDVM_FUNCTION(Waitsome)(int count, MPI_Request requests[], int* outcount, int indices[], MPI_Status* statuses) {
  return call_on_request(first_of(count, requests), "MPI_Waitsome", [&] {
    check_requests(count, requests);
    int found = -1;
    here().wait([&] { return (found = find_complete(count, requests)) != -1; });
    *outcount = MPI_UNDEFINED;
    if (found != MPI_UNDEFINED) finish_some(count, requests, outcount, indices, statuses);
  });
}

P2PDVM_FUNCTION(Testsome)(int count, MPI_Request requests[], int* outcount, int indices[], MPI_Status* statuses) {
  return call_on_request(first_of(count, requests), "MPI_Testsome", [&] {
    check_requests(count, requests);
    int found = -1;
    *outcount = 0;
    if (!done_or_look([&] { return (found = find_complete(count, requests)) != -1; })) return;
    *outcount = MPI_UNDEFINED;
    if (found != MPI_UNDEFINED) finish_some(count, requests, outcount, indices, statuses);
  });
}

P2PDVM_FUNCTION(Request_free)(MPI_Request* handle) {
  return call_on_request(*handle, "MPI_Request_free", [&] {
    auto given_up = ref<request>::adopt(&request_of(*handle));
    *handle = MPI_REQUEST_NULL;
    forget_complete();
    if (given_up->active() && !delivered(*given_up)) abandoned().push_back(std::move(given_up));
  });
}

P2PDVM_FUNCTION(Request_get_status)(MPI_Request handle, int* flag, MPI_Status* status) {
  return call_on_request(handle, "MPI_Request_get_status", [&] {
    *flag = 1;
    if (!waits(handle)) return set_empty(status);
    request& r = request_of(handle);
    *flag = done_or_look([&r] { return r.complete(); }) ? 1 : 0;
    if (*flag != 0) r.peek(status);
  });
}

P2PDVM_FUNCTION(Request_get_status_any)(int count, const MPI_Request requests[], int* index, int* flag, MPI_Status* status) {
  return call_on_request(first_of(count, requests), "MPI_Request_get_status_any", [&] {
    check_requests(count, requests);
    int found = -1;
    auto* const all = const_cast<MPI_Request*>(requests);
    *flag = done_or_look([&] { return (found = find_complete(count, all)) != -1; }) ? 1 : 0;
    *index = MPI_UNDEFINED;
    if (*flag == 0) return;
    *index = found;
    if (found == MPI_UNDEFINED) return set_empty(status);
    request_of(requests[found]).peek(status);
  });
}

P2PDVM_FUNCTION(Request_get_status_all)(int count, const MPI_Request requests[], int* flag, MPI_Status* statuses) {
  return call_on_request(first_of(count, requests), "MPI_Request_get_status_all", [&] {
    check_requests(count, requests);
    all_complete all(count, const_cast<MPI_Request*>(requests));
    *flag = done_or_look([&all] { return all(); }) ? 1 : 0;
    if (*flag == 0) return;
    for (int i = 0; i < count; ++i) {
      MPI_Status* const status = statuses == MPI_STATUSES_IGNORE ? MPI_STATUS_IGNORE : &statuses[i];
      if (waits(requests[i])) {
        request_of(requests[i]).peek(status);
      } else {
        set_empty(status);
      }
    }
  });
}

P2PDVM_FUNCTION(Request_get_status_some)(int count, const MPI_Request requests[], int* outcount, int indices[], MPI_Status* statuses) {
  return call_on_request(first_of(count, requests), "MPI_Request_get_status_some", [&] {
    check_requests(count, requests);
    int found = -1;
    auto* const all = const_cast<MPI_Request*>(requests);
    *outcount = 0;
    if (!done_or_look([&] { return (found = find_complete(count, all)) != -1; })) return;
    if (found == MPI_UNDEFINED) return static_cast<void>(*outcount = MPI_UNDEFINED);
    for (int i = 0; i < count; ++i) {
      if (!waits(requests[i]) || !request_of(requests[i]).complete()) continue;
      request_of(requests[i]).peek(statuses == MPI_STATUSES_IGNORE ? MPI_STATUS_IGNORE : &statuses[*outcount]);
      indices[(*outcount)++] = i;
    }
  });
}

P2PDVM_FUNCTION(Cancel)(MPI_Request* handle) {
  return call_on_request(*handle, "MPI_Cancel", [&] { request_of(*handle).cancel(); });
}

P2PDVM_FUNCTION(Start)(MPI_Request* handle) {
  return call_on_request(*handle, "MPI_Start", [&] { request_of(*handle).start(); });
}

P2PDVM_FUNCTION(Startall)(int count, MPI_Request requests[]) {
  return call_on_request(first_of(count, requests), "MPI_Startall", [&] {
    check_requests(count, requests);
    for (int i = 0; i < count; ++i) request_of(requests[i]).start();
  });
}

// --- statuses ---

P2PDVM_FUNCTION(Test_cancelled)(const MPI_Status* status, int* flag) {
  return call("MPI_Test_cancelled", [&] { *flag = is_cancelled(*status) ? 1 : 0; });
}

namespace {

/// How many elements, or MPI_UNDEFINED when that is no whole number.
MPI_Count elements_in(const MPI_Status& status, MPI_Datatype handle) {
  const datatype& type = datatype_of(handle);
  const MPI_Count bytes = bytes_in(status);
  if (type.size() == 0) return bytes == 0 ? MPI_Count{0} : MPI_Count{MPI_UNDEFINED};
  return bytes % type.size() == 0 ? bytes / type.size() : MPI_Count{MPI_UNDEFINED};
}
MPI_Count scalars_in(const MPI_Status& status, MPI_Datatype handle) {
  const MPI_Count count = datatype_of(handle).scalars_in(bytes_in(status));
  return count < 0 ? MPI_Count{MPI_UNDEFINED} : count;
}
int small(MPI_Count count) { return static_cast<int>(count > INT_MAX ? MPI_Count{MPI_UNDEFINED} : count); }

void set_elements(MPI_Status* status, MPI_Datatype handle, MPI_Count count) {
  const datatype& type = datatype_of(handle);
  const MPI_Count bytes = type.bytes_of_scalars(count);
  std::memcpy(status->MPI_internal, &bytes, sizeof bytes);
}

}  // namespace

P2PDVM_FUNCTION(Get_count)(const MPI_Status* status, MPI_Datatype type, int* count) {
  return call("MPI_Get_count", [&] { *count = small(elements_in(*status, type)); });
}
P2PDVM_FUNCTION(Get_count_c)(const MPI_Status* status, MPI_Datatype type, MPI_Count* count) {
  return call("MPI_Get_count_c", [&] { *count = elements_in(*status, type); });
}
P2PDVM_FUNCTION(Get_elements)(const MPI_Status* status, MPI_Datatype type, int* count) {
  return call("MPI_Get_elements", [&] { *count = small(scalars_in(*status, type)); });
}
P2PDVM_FUNCTION(Get_elements_c)(const MPI_Status* status, MPI_Datatype type, MPI_Count* count) {
  return call("MPI_Get_elements_c", [&] { *count = scalars_in(*status, type); });
}
P2PDVM_FUNCTION(Get_elements_x)(const MPI_Status* status, MPI_Datatype type, MPI_Count* count) {
  return call("MPI_Get_elements_x", [&] { *count = scalars_in(*status, type); });
}
P2PDVM_FUNCTION(Status_set_elements)(MPI_Status* status, MPI_Datatype type, int count) {
  return call("MPI_Status_set_elements", [&] { set_elements(status, type, count); });
}
P2PDVM_FUNCTION(Status_set_elements_c)(MPI_Status* status, MPI_Datatype type, MPI_Count count) {
  return call("MPI_Status_set_elements_c", [&] { set_elements(status, type, count); });
}
P2PDVM_FUNCTION(Status_set_elements_x)(MPI_Status* status, MPI_Datatype type, MPI_Count count) {
  return call("MPI_Status_set_elements_x", [&] { set_elements(status, type, count); });
}
P2PDVM_FUNCTION(Status_set_cancelled)(MPI_Status* status, int flag) {
  return call("MPI_Status_set_cancelled", [&] { set_cancelled(status, flag != 0); });
}

#define P2PDVM_STATUS_FIELD(name, member)                                                     \
  P2PDVM_FUNCTION(Status_get_##name)(const MPI_Status* status, int* value) {                  \
    return call_any_time("MPI_Status_get_" #name, [&] { *value = status->member; });          \
  }                                                                                           \
  P2PDVM_FUNCTION(Status_set_##name)(MPI_Status* status, int value) {                         \
    return call_any_time("MPI_Status_set_" #name, [&] { status->member = value; });           \
  }
P2PDVM_STATUS_FIELD(source, MPI_SOURCE)
P2PDVM_STATUS_FIELD(tag, MPI_TAG)
P2PDVM_STATUS_FIELD(error, MPI_ERROR)

// --- what is complete when it begins ---

namespace {

class nothing_to_do final : public request {
 public:
  bool complete() override { return true; }
  void finish(MPI_Status* status) override { set_empty(status); }
};

}  // namespace

/// Messages of buffered sends never wait in the program's buffer.
P2PDVM_FUNCTION(Buffer_iflush)(MPI_Request* made) {
  return call("MPI_Buffer_iflush", [&] { *made = handle_of(*new nothing_to_do); });
}

// --- requests of the program's own ---

namespace {

class own_request final : public request {
 public:
  own_request(MPI_Grequest_query_function* query, MPI_Grequest_free_function* free, MPI_Grequest_cancel_function* cancels, void* state)
      : query_(query), free_(free), cancel_(cancels), state_(state) {}
  ~own_request() override {
    if (free_ != nullptr) (void)free_(state_);
  }
  bool complete() override { return complete_; }
  void finish(MPI_Status* status) override { peek(status); }
  void peek(MPI_Status* status) override {
    MPI_Status said{};
    set_empty(&said);
    if (query_ != nullptr) {
      if (const int code = query_(state_, &said); code != MPI_SUCCESS) fail(code, "the request's own function says so");
    }
    if (status != MPI_STATUS_IGNORE) *status = said;
  }
  void cancel() override {
    if (cancel_ == nullptr) return;
    if (const int code = cancel_(state_, complete_ ? 1 : 0); code != MPI_SUCCESS) fail(code, "the request's own function says so");
  }
  void set_complete() noexcept { complete_ = true; }

 private:
  MPI_Grequest_query_function* query_;
  MPI_Grequest_free_function* free_;
  MPI_Grequest_cancel_function* cancel_;
  void* state_;
  std::atomic<bool> complete_{false};
};

}  // namespace

P2PDVM_FUNCTION(Grequest_start)(MPI_Grequest_query_function* query_fn, MPI_Grequest_free_function* free_fn,
                                MPI_Grequest_cancel_function* cancel_fn, void* extra_state, MPI_Request* made) {
  return call("MPI_Grequest_start", [&] { *made = handle_of(*new own_request(query_fn, free_fn, cancel_fn, extra_state)); });
}

P2PDVM_FUNCTION(Grequest_complete)(MPI_Request handle) {
  return call("MPI_Grequest_complete", [&] {
    auto* const own = dynamic_cast<own_request*>(&request_of(handle));
    require(own != nullptr, MPI_ERR_REQUEST, "the request is none of the program's own");
    own->set_complete();
  });
}

}  // namespace p2pdvm::c_mpi
