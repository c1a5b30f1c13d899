#include "runtime/workers.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

namespace stele {

WorkerThread::WorkerThread() : thread_([this] { work(); }) {}

WorkerThread::~WorkerThread() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void WorkerThread::run(std::function<void()> task) {
    {
        const std::lock_guard lock(mutex_);
        tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
}

void WorkerThread::work() {
    for (;;) {
        std::function<void()> task;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
            if (tasks_.empty()) return;
            task = std::move(tasks_.front());
            tasks_.pop_front();
        }
        task();
    }
}

void Workers::wait_for_disk(std::function<Status()> job, std::function<void(Status)> done) {
    // The loop must not run dry while an acknowledgement is on its way to it.
    waiting_.run([this, guard = boost::asio::make_work_guard(loop_), job = std::move(job), done = std::move(done)] {
        Status status = job();
        boost::asio::post(loop_, [guard, done, status = std::move(status)] { done(status); });
    });
}

}  // namespace stele
