# probe(ctx in %rdi): loads every general and vector register from the context, lets one event happen,
# and stores what the registers then hold. The caller compares.
#
# Context: 0 general[16] in; 128 general[16] out; 256 vector[16*32] in; 768 vector[16*32] out;
# 1280 red zone[15] out; 1400 saved %rsp; 1408 spin count; 1416 kind; 1424 wide vectors; 1432 flags out;
# 1440 red zone pattern.

    .section .text.probe, "ax", @progbits
    .globl stress_probe
    .balign 16
stress_probe:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    subq $136, %rsp
    movq %rsp, 1400(%rdi)
    movq %rdi, %r15
# The red zone below %rsp belongs to this function, which calls nothing but the gate.
    movq 1440(%r15), %rax
    .irp at, 16,24,32,40,48,56,64,72,80,88,96,104,112,120,128
    movq %rax, -\at(%rsp)
    .endr
    cmpq $0, 1424(%r15)
    jne 1f
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movups 256+\n*32(%r15), %xmm\n
    .endr
    jmp 2f
1:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vmovups 256+\n*32(%r15), %ymm\n
    .endr
2:
    movq 8(%r15), %rbx
    movq 16(%r15), %rcx
    movq 24(%r15), %rdx
    movq 32(%r15), %rsi
    movq 40(%r15), %rdi
    movq 48(%r15), %rbp
    movq 56(%r15), %r8
    movq 64(%r15), %r9
    movq 72(%r15), %r10
    movq 80(%r15), %r11
    movq 88(%r15), %r12
    movq 96(%r15), %r13
    movq 104(%r15), %r14
    movq 0(%r15), %rax
    cmpq $1, 1416(%r15)
    je 4f
    ja 5f
# kind 0: spin, and let interrupts come
3:  decq 1408(%r15)
    jnz 3b
    stc
    jmp 6f
# kind 1: a store to %r14 that faults
4:  stc
    movq %r14, (%r14)
    jmp 6f
# kind 2: the gate, its operation in %rax
5:  stc
    call gate
6:  pushfq
    popq 1432(%r15)
    movq %rax, 128(%r15)
    movq %rbx, 136(%r15)
    movq %rcx, 144(%r15)
    movq %rdx, 152(%r15)
    movq %rsi, 160(%r15)
    movq %rdi, 168(%r15)
    movq %rbp, 176(%r15)
    movq %r8, 184(%r15)
    movq %r9, 192(%r15)
    movq %r10, 200(%r15)
    movq %r11, 208(%r15)
    movq %r12, 216(%r15)
    movq %r13, 224(%r15)
    movq %r14, 232(%r15)
    movq %rsp, 240(%r15)
    cld
    .set slot, 0
    .irp at, 16,24,32,40,48,56,64,72,80,88,96,104,112,120,128
    movq -\at(%rsp), %rax
    movq %rax, 1280+slot(%r15)
    .set slot, slot + 8
    .endr
    cmpq $0, 1424(%r15)
    jne 7f
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    movups %xmm\n, 768+\n*32(%r15)
    .endr
    jmp 8f
7:
    .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vmovups %ymm\n, 768+\n*32(%r15)
    .endr
    vzeroupper
8:
    movq 1400(%r15), %rsp
    addq $136, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
    .text
