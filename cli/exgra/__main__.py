from exgra.main import main

main()
