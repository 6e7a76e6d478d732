// SPDX-License-Identifier: MIT
// Threads, direct buffers and zip streams (malloc behind them), exceptions, strings. The source
// is compiled by the same JVM first: the compiler is the larger half of the load.
import java.io.*;
import java.nio.ByteBuffer;
import java.util.*;
import java.util.concurrent.*;
import java.util.zip.*;

public class Main {
    static String work(int seed) throws Exception {
        Random random = new Random(seed);
        CRC32 crc = new CRC32();
        Map<String, List<Integer>> map = new TreeMap<>();
        for (int i = 0; i < 40000; i++)
            map.computeIfAbsent("k" + random.nextInt(3000), k -> new ArrayList<>()).add(i);
        for (var e : map.entrySet())
            crc.update((e.getKey() + e.getValue()).getBytes());
        for (int i = 0; i < 60; i++) {
            ByteBuffer direct = ByteBuffer.allocateDirect(1 + random.nextInt(500000));
            while (direct.hasRemaining())
                direct.put((byte) direct.position());
            direct.flip();
            crc.update(direct);
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            byte[] bytes = new byte[random.nextInt(50000)];
            random.nextBytes(bytes);
            try (GZIPOutputStream gzip = new GZIPOutputStream(out)) {
                gzip.write(bytes);
            }
            var in = new ByteArrayInputStream(out.toByteArray());
            try (var gunzip = new GZIPInputStream(in)) {
                if (!Arrays.equals(gunzip.readAllBytes(), bytes))
                    throw new IllegalStateException();
            }
        }
        return seed + " " + map.size() + " " + crc.getValue();
    }

    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<String>> results = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            int seed = i;
            results.add(pool.submit(() -> work(seed)));
        }
        for (Future<String> r : results)
            System.out.println(r.get());
        pool.shutdown();
        for (int i = 0; i < 500; i++) {
            Thread t = new Thread(() -> ByteBuffer.allocateDirect(10000).putInt(0, 1));
            t.start();
            t.join();
        }
        System.gc();
        System.out.println("done");
    }
}
