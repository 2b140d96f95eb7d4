#include "collective.hpp"

#include "call.hpp"
#include "request.hpp"

#include <memory>
#include <utility>

namespace p2pdvm::c_mpi {

namespace {

/// How a collective goes that a request stands for; the coroutine's end finds it even when the request is gone.
struct outcome {
  bool done = false;
  std::exception_ptr failed;
};

class collective_request final : public request {
 public:
  collective_request(communicator& over, std::function<void()> ended) : over_(over), ended_(std::move(ended)) {}
  /// Begins the collective; what it names must live until it is done.
  void begin(task<> work) {
    over_->begin(std::move(work), [state = state_](std::exception_ptr failed) {
      state->failed = std::move(failed);
      state->done = true;
    });
  }
  bool complete() override { return state_->done; }
  void finish(MPI_Status* status) override {
    set_empty(status);
    if (state_->failed) std::rethrow_exception(state_->failed);
    if (ended_) std::exchange(ended_, nullptr)();
  }
  communicator* over() noexcept override { return over_.get(); }

 private:
  ref<communicator> over_;
  std::function<void()> ended_;
  std::shared_ptr<outcome> state_ = std::make_shared<outcome>();
};

/// Begins anew each time.
class persistent_collective final : public request {
 public:
  persistent_collective(communicator& over, ref<communicator> own, std::function<task<>()> work)
      : over_(over), own_(std::move(own)), work_(std::move(work)) {}
  bool complete() override { return !state_ || state_->done; }
  void finish(MPI_Status* status) override {
    set_empty(status);
    const std::shared_ptr<outcome> was = std::exchange(state_, nullptr);
    if (was && was->failed) std::rethrow_exception(was->failed);
  }
  void start() override {
    require(!state_, MPI_ERR_REQUEST, "the request is active");
    state_ = std::make_shared<outcome>();
    own_->begin(work_(), [state = state_](std::exception_ptr failed) {
      state->failed = std::move(failed);
      state->done = true;
    });
  }
  bool persistent() const noexcept override { return true; }
  bool active() const noexcept override { return state_ != nullptr; }
  communicator* over() noexcept override { return over_.get(); }

 private:
  ref<communicator> over_, own_;
  std::function<task<>()> work_;
  std::shared_ptr<outcome> state_;
};

}  // namespace

void run(communicator& over, task<> work) {
  if (over.busy()) here().wait([&over] { return !over.busy(); });
  here().run(std::move(work));
}

void wait_for(task<> work) { here().run(std::move(work)); }

void begin(communicator& over, task<> work, MPI_Request* made, std::function<void()> ended) {
  auto* const one = new collective_request(over, std::move(ended));
  one->begin(std::move(work));
  here().go_on();
  *made = handle_of(*one);
}

void prepare(communicator& over, ref<communicator> own, std::function<task<>()> work, MPI_Request* made) {
  *made = handle_of(*new persistent_collective(over, std::move(own), std::move(work)));
}

}  // namespace p2pdvm::c_mpi
