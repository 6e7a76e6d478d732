// SPDX-License-Identifier: MIT
//
// The C++ operators: all twenty, on our heap, with the new_handler and bad_alloc of libstdc++.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/resource.h>

#include "hakmem.h"

#define REQUIRE(c)                                                                             \
    do {                                                                                       \
        if (!(c)) {                                                                            \
            std::fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #c);               \
            std::_Exit(1);                                                                     \
        }                                                                                      \
    } while (0)

// volatile: the compiler may not see through these and remove a pair or warn of a size.
static volatile std::size_t small = 100, huge = static_cast<std::size_t>(PTRDIFF_MAX) - 100;
static const auto wide = static_cast<std::align_val_t>(256);

static void *ours(void *p)
{
    REQUIRE(hak_usable_size(p) >= small); // aborts on a pointer that is not ours
    return p;
}

static void *ours_wide(void *p)
{
    REQUIRE(reinterpret_cast<std::uintptr_t>(p) % 256 == 0);
    return ours(p);
}

static void all_twenty_operators_work_on_our_heap()
{
    const std::nothrow_t &nt = std::nothrow;
    for (int i = 0; i < 100; i++) {
        ::operator delete(ours(::operator new(small)));
        ::operator delete[](ours(::operator new[](small)));
        ::operator delete(ours(::operator new(small, nt)), nt);
        ::operator delete[](ours(::operator new[](small, nt)), nt);
        ::operator delete(ours_wide(::operator new(small, wide)), wide);
        ::operator delete[](ours_wide(::operator new[](small, wide)), wide);
        ::operator delete(ours_wide(::operator new(small, wide, nt)), wide, nt);
        ::operator delete[](ours_wide(::operator new[](small, wide, nt)), wide, nt);
        ::operator delete(ours(::operator new(small)), small);
        ::operator delete[](ours(::operator new[](small)), small);
        ::operator delete(ours_wide(::operator new(small, wide)), small, wide);
        ::operator delete[](ours_wide(::operator new[](small, wide)), small, wide);
    }
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    ::operator delete(nullptr, small);
    ::operator delete[](nullptr, small, wide);
    void *a = ::operator new(0), *b = ::operator new(0);
    REQUIRE(a != nullptr && b != nullptr && a != b);
    ::operator delete(a);
    ::operator delete(b);
}

// What is made goes here, for the compiler to see a use of it.
static void *volatile made;

template <class F> static bool throws_bad_alloc(F f)
{
    try {
        made = f();
    } catch (const std::bad_alloc &) {
        return true;
    }
    return false;
}

static void failure_throws_bad_alloc()
{
    REQUIRE(throws_bad_alloc([] { return ::operator new(huge); }));
    REQUIRE(throws_bad_alloc([] { return ::operator new[](huge); }));
    REQUIRE(throws_bad_alloc([] { return ::operator new(huge, wide); }));
    REQUIRE(throws_bad_alloc([] { return ::operator new[](huge, wide); }));
    REQUIRE(::operator new(huge, std::nothrow) == nullptr);
    REQUIRE(::operator new[](huge, std::nothrow) == nullptr);
    REQUIRE(::operator new(huge, wide, std::nothrow) == nullptr);
    REQUIRE(::operator new[](huge, wide, std::nothrow) == nullptr);
    REQUIRE(throws_bad_alloc([] { return std::vector<char>(huge).data(); }));
}

static int handler_calls;

static void handler_third_time_gives_up()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

static void handler_throws_its_own()
{
    handler_calls++;
    throw std::bad_alloc();
}

static rlim_t limit_before;

static void handler_makes_room()
{
    handler_calls++;
    struct rlimit l;
    REQUIRE(getrlimit(RLIMIT_AS, &l) == 0);
    l.rlim_cur = limit_before;
    REQUIRE(setrlimit(RLIMIT_AS, &l) == 0);
}

static void the_request_is_repeated_after_the_handler_made_room()
{
    struct rlimit l;
    REQUIRE(getrlimit(RLIMIT_AS, &l) == 0);
    limit_before = l.rlim_cur;
    l.rlim_cur = 32 << 20; // less than the process has: nothing more can be mapped
    handler_calls = 0;
    std::set_new_handler(handler_makes_room);
    REQUIRE(setrlimit(RLIMIT_AS, &l) == 0);
    void *p = ::operator new(static_cast<std::size_t>(512) << 20);
    REQUIRE(p != nullptr && handler_calls == 1);
    ::operator delete(p);
    std::set_new_handler(nullptr);
}

static void the_new_handler_is_called_until_it_gives_up_or_throws()
{
    handler_calls = 0;
    std::set_new_handler(handler_third_time_gives_up);
    REQUIRE(throws_bad_alloc([] { return ::operator new(huge); }));
    REQUIRE(handler_calls == 3);

    handler_calls = 0;
    std::set_new_handler(handler_throws_its_own);
    REQUIRE(throws_bad_alloc([] { return ::operator new[](huge, wide); }));
    REQUIRE(handler_calls == 1);

    handler_calls = 0; // nothrow calls the handler too, and keeps what it throws to itself
    REQUIRE(::operator new(huge, std::nothrow) == nullptr);
    REQUIRE(::operator new[](huge, wide, std::nothrow) == nullptr);
    REQUIRE(handler_calls == 2);

    handler_calls = 0;
    std::set_new_handler(handler_third_time_gives_up);
    REQUIRE(::operator new(huge, std::nothrow) == nullptr);
    REQUIRE(handler_calls == 3);
    std::set_new_handler(nullptr);
}

static void containers_strings_exceptions_and_threads_run()
{
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; t++)
        threads.emplace_back([t] {
            std::map<std::string, std::unique_ptr<std::vector<int>>> m;
            for (int i = 0; i < 3000; i++) {
                std::string key = "a key that is too long for the short form " +
                                  std::to_string(i * 7919 % 3000);
                m[key].reset(new std::vector<int>(static_cast<std::size_t>(i % 200), t));
                if (i % 3 == 0)
                    m.erase(m.begin());
                try {
                    if (i % 100 == 0)
                        throw std::runtime_error(key);
                } catch (const std::runtime_error &e) {
                    REQUIRE(key == e.what());
                }
            }
        });
    for (auto &t : threads)
        t.join();
    struct alignas(512) wide_t {
        char c[512];
    };
    std::unique_ptr<wide_t[]> w(new wide_t[10]);
    REQUIRE(reinterpret_cast<std::uintptr_t>(w.get()) % 512 == 0);
}

int main()
{
    all_twenty_operators_work_on_our_heap();
    failure_throws_bad_alloc();
    the_new_handler_is_called_until_it_gives_up_or_throws();
    containers_strings_exceptions_and_threads_run();
    the_request_is_repeated_after_the_handler_made_room();
    std::puts("C++ operators: all passed");
}
