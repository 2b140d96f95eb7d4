/// A program: a name, a body that every rank runs, and the options that travel with the job.
#pragma once

#include <p2pdvm/async/task.hpp>

#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::peal {

class rank;

class program {
 public:
  /// No closure: it runs again from its beginning after a rollback, on another peer perhaps.
  using body_type = task<> (*)(rank&);

  enum class kind { option, input, output };
  struct option_spec {
    std::string name;
    std::string fallback;
    std::string help;
    program::kind kind = program::kind::option;
  };

  program(std::string program_name, body_type program_body)
      : name_(std::move(program_name)), body_(program_body) {}

  /// `--name VALUE` after `--`; its value is the same on every peer.
  program& option(std::string name, std::string fallback, std::string help) {
    return add({std::move(name), std::move(fallback), std::move(help), kind::option});
  }
  /// `--name FILE`: read by the peer that makes the job, then data of the job.
  program& input(std::string name, std::string help) {
    return add({std::move(name), {}, std::move(help), kind::input});
  }
  /// `--name FILE`: each peer started with it writes the result of that name there at the end, or
  /// what ranks write into the output of that name (`rank::output`) as checkpoints commit it.
  program& output(std::string name, std::string help) {
    return add({std::move(name), {}, std::move(help), kind::output});
  }
  /// One or two sentences for `--help`.
  program& describe(std::string text) {
    description_ = std::move(text);
    return *this;
  }

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const std::string& description() const noexcept { return description_; }
  [[nodiscard]] body_type body() const noexcept { return body_; }
  [[nodiscard]] const std::vector<option_spec>& options() const noexcept { return options_; }

 private:
  program& add(option_spec spec) {
    options_.push_back(std::move(spec));
    return *this;
  }

  std::string name_;
  std::string description_;
  body_type body_;
  std::vector<option_spec> options_;
};

}  // namespace p2pdvm::peal
