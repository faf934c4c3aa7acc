import static java.util.Objects.requireNonNull;

import java.io.FileInputStream;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;
import org.json.JSONObject;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisSentinelClient;
import redis.clients.jedis.UnifiedJedis;
import redis.clients.jedis.exceptions.JedisException;
import redis.clients.jedis.util.JedisURIHelper;

/**
 * Writes records to Redis, repeats calls that fail, and reads all records back.
 *
 * <p>The settings are environment variables: see the README of the examples.
 */
public class Records {
  private static final long GIVE_UP_MS = 60_000; // without an answer to one command
  private static final int TIMEOUT_MS = 15_000; // longer than the proxy waits for a primary: 10 s

  private static final Map<String, String> ENV = System.getenv();

  private static int failed = 0;
  private static String firstError = null;
  private static long longestCall = 0;
  private static long longestWait = 0;

  /** A client of `halab proxy`, or of the primary that the Sentinels name. */
  @SuppressWarnings("deprecation") // SslOptions takes key stores only, no PEM files
  private static UnifiedJedis connect() throws Exception {
    if (!ENV.containsKey("SENTINELS")) {
      var given = ENV.get("REDIS_URL");
      var url = URI.create(requireNonNull(given, "set REDIS_URL or SENTINELS: see the README"));
      return RedisClient.builder()
          .hostAndPort(JedisURIHelper.getHostAndPort(url))
          .clientConfig(DefaultJedisClientConfig.builder(url).socketTimeoutMillis(TIMEOUT_MS).build())
          .build();
    }
    var login = DefaultJedisClientConfig.builder()
        .user(ENV.get("REDIS_USER"))
        .password(Files.readString(Path.of(ENV.get("REDIS_PASSWORD_FILE"))).trim());
    if (ENV.containsKey("REDIS_CA")) {
      login.ssl(true).sslSocketFactory(trusting(ENV.get("REDIS_CA")).getSocketFactory());
    }
    Set<HostAndPort> sentinels = Stream.of(ENV.get("SENTINELS").split(","))
        .map(HostAndPort::from)
        .collect(Collectors.toSet());
    return RedisSentinelClient.builder()
        .masterName(ENV.get("PRIMARY_NAME"))
        .sentinels(sentinels)
        .sentinelClientConfig(login.build())
        .clientConfig(login.build())
        .build();
  }

  /** TLS that trusts the certificates in a PEM file. */
  private static SSLContext trusting(String ca) throws Exception {
    var store = KeyStore.getInstance(KeyStore.getDefaultType());
    store.load(null, null);
    try (InputStream file = new FileInputStream(ca)) {
      for (var one : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
        store.setCertificateEntry("ca-" + store.size(), one);
      }
    }
    var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
    trust.init(store);
    var context = SSLContext.getInstance("TLS");
    context.init(null, trust.getTrustManagers(), null);
    return context;
  }

  /** Repeats a call that fails. Repeating is harmless here: it sets the same key to the same value. */
  private static String call(Supplier<String> command) throws InterruptedException {
    long begun = System.nanoTime();
    while (true) {
      long called = System.nanoTime();
      try {
        return command.get();
      } catch (JedisException error) {
        failed += 1;
        if (firstError == null) firstError = error.toString();
        if (since(begun) > GIVE_UP_MS) throw error;
      } finally {
        longestCall = Math.max(longestCall, since(called));
        longestWait = Math.max(longestWait, since(begun));
      }
      Thread.sleep(50);
    }
  }

  private static long since(long time) {
    return (System.nanoTime() - time) / 1_000_000;
  }

  public static void main(String[] arguments) throws Exception {
    String prefix = ENV.getOrDefault("APP", "shop") + ":record:";
    int records = Integer.parseInt(ENV.getOrDefault("RECORDS", "1000"));
    long pace = Long.parseLong(ENV.getOrDefault("PACE_MS", "0"));
    var random = new Random();
    List<String> acknowledged = new ArrayList<>();
    Integer missing = null;
    try (var db = connect()) {
      for (int number = 0; number < records; number++) {
        String key = prefix + number;
        String value = System.currentTimeMillis() + " " + HexFormat.of().toHexDigits(random.nextLong());
        call(() -> db.set(key, value));
        acknowledged.add(value);
        Thread.sleep(pace);
      }
      int different = 0;
      for (int number = 0; number < acknowledged.size(); number++) {
        String key = prefix + number;
        if (!acknowledged.get(number).equals(call(() -> db.get(key)))) different++;
      }
      missing = different;
    } catch (JedisException error) {
      // given up: the numbers show it
    }
    var version = new Properties();
    version.load(UnifiedJedis.class.getResourceAsStream("pom.properties"));
    var report = new LinkedHashMap<String, Object>();
    report.put("client", "Jedis " + version.getProperty("version"));
    report.put("records", records);
    report.put("acknowledged", acknowledged.size());
    report.put("missing", missing == null ? JSONObject.NULL : missing);
    report.put("failed_calls", failed);
    report.put("first_error", firstError == null ? JSONObject.NULL : firstError);
    report.put("longest_call_ms", longestCall);
    report.put("longest_wait_ms", longestWait);
    System.out.println(new JSONObject(report));
    System.exit(acknowledged.size() == records && missing != null && missing == 0 ? 0 : 1);
  }
}
