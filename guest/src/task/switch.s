# task_switch(save: *mut u64 in %rdi, next: u64 in %rsi): the registers a call preserves, and the stack.

    .section .text.task, "ax", @progbits
    .globl task_switch
    .balign 16
task_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

# The first return of a new task: its %rbp is 0, so that backtraces end here.
    .globl task_first
    .balign 16
task_first:
    call task_main
    ud2
    .text
