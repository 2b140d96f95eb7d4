#include "support/test.hpp"

#include <p2pdvm/async/driver_token.hpp>
#include <p2pdvm/async/nursery.hpp>
#include <p2pdvm/async/queue_executor.hpp>
#include <p2pdvm/async/suspension.hpp>

#include <stdexcept>
#include <vector>

using namespace p2pdvm;

namespace {

task<> note(std::vector<int>* out, int value) {
  out->push_back(value);
  co_return;
}

task<> wait_then_note(suspension* gate, driver_token* token, std::vector<int>* out, int value) {
  co_await gate->wait(*token);
  out->push_back(value);
}

task<> run_children(queue_context* context, std::vector<int>* out) {
  nursery children(context->get_executor());
  for (int i = 0; i < 3; ++i) children.spawn(note(out, i));
  co_await children.join();
  out->push_back(99);
}

task<> failing() {
  throw std::runtime_error("child failed");
  co_return;
}

task<> run_failing(queue_context* context, std::string* what) {
  nursery children(context->get_executor());
  children.spawn(failing());
  try {
    co_await children.join();
  } catch (const std::exception& e) {
    *what = e.what();
  }
}

void drain(queue_context& context) {
  while (context.queue().drain(100) > 0) {
  }
}

void spawn(queue_context& context, task<> body) {
  asio::co_spawn(context.get_executor(), std::move(body), [](std::exception_ptr e) { CHECK(!e); });
}

}  // namespace

TEST_CASE("a coroutine runs from the ready queue and only there") {
  queue_context context;
  std::vector<int> out;
  spawn(context, note(&out, 1));
  CHECK(out.empty());
  drain(context);
  CHECK(out == std::vector<int>{1});
}

TEST_CASE("a suspension may be released before or after the wait") {
  for (const bool before : {true, false}) {
    queue_context context;
    driver_token token;
    suspension gate(context.queue());
    std::vector<int> out;
    if (before) gate.release();
    spawn(context, wait_then_note(&gate, &token, &out, 5));
    drain(context);
    CHECK(out.empty() == !before);
    gate.release();
    drain(context);
    CHECK(out == std::vector<int>{5});
  }
}

TEST_CASE("a nursery waits for its children and passes on the first failure") {
  queue_context context;
  std::vector<int> out;
  spawn(context, run_children(&context, &out));
  drain(context);
  CHECK(out == std::vector<int>{0, 1, 2, 99});
  std::string what;
  spawn(context, run_failing(&context, &what));
  drain(context);
  CHECK(what == "child failed");
}
